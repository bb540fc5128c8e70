use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use std::time::Duration;

use super::*;
use crate::definition::samples::{event, webhook};
use crate::definition::{DefinitionKey, Event, LogRecord, Payload};
use crate::vocabulary::Operation;

/// A broker with the definitions topic, and a plain producer. The writer's tests cover transactions.
struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    config: Config,
    kafka: HashMap<String, String>,
    producer: BaseProducer,
}

impl Broker {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let config = Config { topic: "outhook.definitions".to_owned(), ..Config::default() };
        cluster.create_topic(&config.topic, 1, 1).unwrap();
        let kafka = HashMap::from([("bootstrap.servers".to_owned(), cluster.bootstrap_servers())]);
        let mut client = ClientConfig::new();
        client.extend(kafka.clone());
        Self { cluster, config, kafka, producer: client.create().unwrap() }
    }

    fn write(&self, key: &str, value: Option<&[u8]>) {
        let mut record = BaseRecord::<str, [u8]>::to(&self.config.topic).partition(0).key(key);
        record.payload = value;
        self.producer.send(record).unwrap();
        self.producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn put(&self, record: LogRecord) {
        self.write(&record.key.to_string(), record.value.as_deref());
    }

    fn follow(&self) -> (Arc<Store>, Arc<Index>) {
        let index = Arc::new(Index::default());
        (Store::start(&self.config, &self.kafka, index.clone()).unwrap(), index)
    }
}

async fn until(store: &Store, what: impl FnMut(&Arc<FollowStatus>) -> bool) {
    let mut status = store.status.clone();
    tokio::time::timeout(Duration::from_secs(30), status.wait_for(what)).await.expect("in time").unwrap();
}

fn rules(index: &Index, table: &str) -> Vec<String> {
    let rules = index.rules("acme", table);
    rules.iter().flat_map(|rules| rules.rules()).map(|rule| rule.event.to_string()).collect()
}

fn insert(id: &str, table: &str) -> Event {
    event(id, "hook01", Operation::Insert, table, &[])
}

#[tokio::test]
async fn catches_up_then_follows() {
    let broker = Broker::new();
    broker.put(LogRecord::event(&insert("event1", "T")));
    broker.put(LogRecord::webhook(&webhook("hook01", "A")));

    let (store, index) = broker.follow();
    store.wait_until_caught_up().await.unwrap();
    assert_eq!(rules(&index, "T"), ["event1"]);
    assert_eq!(store.with(|definitions| definitions.webhooks().len()), 1);
    let status = store.status();
    assert_eq!((status.records, status.webhooks, status.events, status.bad_total), (2, 1, 1, 0));
    assert!(status.last_change.is_some());

    broker.put(LogRecord::event(&insert("event1", "U")));
    until(&store, |status| status.records == 3).await;
    assert_eq!((rules(&index, "T"), rules(&index, "U")), (vec![], vec!["event1".to_owned()]));

    broker.put(LogRecord::deletion(DefinitionKey::Webhook("hook01".parse().unwrap())));
    until(&store, |status| status.webhooks == 0).await;
    assert!(rules(&index, "U").is_empty());

    store.stop().await;
    assert!(broker.follow().0.wait_until_caught_up().await.is_ok(), "a second instance reads on its own");
}

#[tokio::test]
async fn empty_topic_is_caught_up_and_a_stopped_store_returns_an_error() {
    let broker = Broker::new();
    let (store, _) = broker.follow();
    store.wait_until_caught_up().await.unwrap();
    store.stop().await;
    store.stop().await;

    let (store, _) = broker.follow();
    broker.cluster.broker_down(1).unwrap();
    store.stop().await;
    if !store.status().caught_up {
        assert!(matches!(store.wait_until_caught_up().await, Err(StoreError::Stopped)));
    }
}

#[tokio::test]
async fn bad_definitions_are_listed_until_fixed_and_others_apply() {
    let broker = Broker::new();
    broker.write("webhook/hook02", Some(b"{\"v\":1}"));
    broker.write("account/acme", Some(b"of a newer program"));
    broker.put(LogRecord::webhook(&webhook("hook01", "A")));
    broker.put(LogRecord::event(&Event { payload: Payload::Template("nonsense".to_owned()), ..insert("event1", "T") }));
    broker.put(LogRecord::event(&insert("event2", "T")));

    let (store, index) = broker.follow();
    store.wait_until_caught_up().await.unwrap();
    assert_eq!(rules(&index, "T"), ["event2"]);
    let status = store.status();
    assert_eq!((status.bad_total, status.ignored), (2, 1));
    assert_eq!((&*status.bad[0].key, status.bad[0].offset), ("webhook/hook02", Some(0)));
    assert!(status.bad[0].reason.contains("missing field"), "{:?}", status.bad[0]);
    assert_eq!((&*status.bad[1].key, status.bad[1].offset), ("event/event1", None));
    assert!(status.bad[1].reason.contains("template"), "{:?}", status.bad[1]);

    broker.put(LogRecord::deletion(DefinitionKey::Webhook("hook02".parse().unwrap())));
    broker.put(LogRecord::event(&insert("event1", "T")));
    until(&store, |status| status.bad_total == 0).await;
    assert_eq!(rules(&index, "T"), ["event1", "event2"]);
    store.stop().await;
}

#[tokio::test]
async fn store_continues_after_a_broker_outage() {
    let broker = Broker::new();
    broker.put(LogRecord::webhook(&webhook("hook01", "A")));
    let (store, index) = broker.follow();
    store.wait_until_caught_up().await.unwrap();

    broker.cluster.broker_down(1).unwrap();
    assert_eq!(store.with(|definitions| definitions.webhooks().len()), 1);
    broker.cluster.broker_up(1).unwrap();
    broker.put(LogRecord::event(&insert("event1", "T")));
    until(&store, |status| status.events == 1).await;
    assert_eq!(rules(&index, "T"), ["event1"]);
    store.stop().await;
}
