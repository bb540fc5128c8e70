//! Counts on librdkafka's mock cluster.

use std::time::Instant;

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use super::*;
use crate::endpoints::{LineWaitingCalls, OVERFLOW_PLACE};
use crate::id::Line;
use crate::rules::EventCounts;

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    config: Config,
    kafka: HashMap<String, String>,
}

/// The counting part of one instance.
struct Instance {
    stats: Arc<Stats>,
    counts: Arc<EventCounts>,
}

impl Broker {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let config = Config::default();
        cluster.create_topic(&config.topic, 1, 1).unwrap();
        // The mock's connection refusals are expected here.
        let settings = [("bootstrap.servers", cluster.bootstrap_servers()), ("log_level", "0".to_owned())];
        let kafka = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Self { cluster, config, kafka }
    }

    fn instance(&self) -> Instance {
        let index = Arc::new(Index::default());
        let counts = index.counters().of(event());
        Instance {
            stats: Stats::start(&self.config, &self.kafka, index, Arc::default(), Arc::default()).unwrap(),
            counts,
        }
    }

    fn write(&self, key: &[u8], value: Option<&[u8]>) {
        let mut client = ClientConfig::new();
        client.extend(self.kafka.clone());
        let producer: BaseProducer = client.create().unwrap();
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.config.topic).partition(0).key(key);
        record.payload = value;
        producer.send(record).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
    }
}

impl Instance {
    fn count(&self, messages: u64) {
        for _ in 0..messages {
            self.counts.count_message(0);
            self.counts.count_call();
        }
        self.counts.error();
    }

    fn totals(&self) -> [u64; 3] {
        let Totals { messages, calls, errors } = self.stats.totals_of(event());
        [messages, calls, errors]
    }

    async fn until(&self, expected: [u64; 3]) {
        let start = Instant::now();
        while self.totals() != expected {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?} are not {expected:?}", self.totals());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn event() -> EventId {
    "event1".parse().unwrap()
}

#[tokio::test]
async fn instances_sum_the_counts_of_running_and_stopped_instances() {
    let broker = Broker::new();
    let (one, two) = (broker.instance(), broker.instance());
    one.count(3);
    two.count(4);
    assert_eq!((one.totals(), two.totals()), ([3, 3, 1], [4, 4, 1]), "own counts are visible immediately");
    one.stats.stop().await;
    two.until([7, 7, 2]).await;
    assert_eq!(two.stats.totals_of_all([event(), event()]).messages, 14);
    assert_eq!(two.stats.totals_of("other1".parse().unwrap()), Totals::default());

    let three = broker.instance();
    three.count(1);
    three.stats.wait_until_caught_up().await;
    assert!(three.stats.is_caught_up());
    assert_eq!(three.totals(), [4, 4, 2], "what one wrote at its stop, and its own");
    two.stats.stop().await;
    three.until([8, 8, 3]).await;
    three.stats.stop().await;
    three.stats.stop().await;
    assert_eq!(three.totals(), [8, 8, 3]);
}

#[tokio::test]
async fn instances_share_endpoint_reports_and_orders() {
    let broker = Broker::new();
    let start = || {
        let endpoints = Arc::<Endpoints>::default();
        let (index, catalogue) = (Arc::default(), Arc::default());
        (Stats::start(&broker.config, &broker.kafka, index, catalogue, endpoints.clone()).unwrap(), endpoints)
    };
    let ((one, of_one), (two, of_two)) = (start(), start());
    let now_ms = || jiff::Timestamp::now().as_millisecond();
    let (line, ordered_ms) = (Line(1), now_ms());
    let (read_by_one, read_by_two) = (of_one.partition(OVERFLOW_PLACE, 0), of_two.partition(OVERFLOW_PLACE, 1));
    read_by_one.update(vec![LineWaitingCalls { line, calls: 3, oldest_ms: 1000 }]);
    of_two.order(&[line], ordered_ms).unwrap();
    assert_eq!(read_by_two.early_send_window(line).until_ms, ordered_ms, "it knows its own orders immediately");
    let begun = Instant::now();
    while read_by_one.early_send_window(line).until_ms != ordered_ms
        || of_two.status(line, now_ms()).waiting_calls() != 3
    {
        assert!(begun.elapsed() < Duration::from_secs(30), "orders and reports did not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(of_two.status(line, now_ms()), of_one.status(line, now_ms()));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn counts_made_during_a_broker_outage_are_written_later() {
    let broker = Broker::new();
    let (one, two) = (broker.instance(), broker.instance());
    one.stats.wait_until_caught_up().await;
    two.stats.wait_until_caught_up().await;
    broker.cluster.broker_down(1).unwrap();
    one.count(5);
    tokio::time::sleep(Duration::from_secs(6)).await;
    one.count(5);
    assert_eq!((one.totals(), two.totals()), ([10, 10, 2], [0, 0, 0]));
    broker.cluster.broker_up(1).unwrap();
    two.until([10, 10, 2]).await;
    two.stats.stop().await;
    one.stats.stop().await;
}

#[tokio::test]
async fn counts_of_many_events_are_all_written() {
    let broker = Broker::new();
    let index = Arc::new(Index::default());
    let one = Stats::start(&broker.config, &broker.kafka, index.clone(), Arc::default(), Arc::default()).unwrap();
    let digit = |number: u32, at: u32| (number / 36_u32.pow(at) % 36) as u8;
    let ids: Vec<EventId> =
        (0..25_000).map(|n| EventId::from_random([0, 0, digit(n, 3), digit(n, 2), digit(n, 1), digit(n, 0)])).collect();
    let held: Vec<_> = ids.iter().map(|id| index.counters().of(*id)).collect();
    held.iter().for_each(|counts| counts.count_call());
    one.stop().await;
    let two = broker.instance();
    two.stats.wait_until_caught_up().await;
    assert_eq!(two.stats.totals_of_all(ids), Totals { calls: 25_000, ..Totals::default() });
    two.stats.stop().await;
}

#[tokio::test]
async fn stop_does_not_wait_for_an_unreachable_broker() {
    let broker = Broker::new();
    let one = broker.instance();
    broker.cluster.broker_down(1).unwrap();
    one.count(1);
    let start = Instant::now();
    one.stats.stop().await;
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    assert_eq!(one.totals(), [1, 1, 1]);
}

#[tokio::test]
async fn records_that_are_not_counts_are_ignored() {
    let broker = Broker::new();
    broker.write(b"count/event1/x/1", Some(b"{}"));
    broker.write(b"count/event1/1/1", Some(b"none"));
    broker.write(b"table/acme", Some(b"{}"));
    broker.write(b"of a newer program", Some(b"{}"));
    broker.write(&[0xff], Some(b"{}"));
    broker.write(b"count/event1/1/1", None);
    broker.write(b"count/event1/1/1", Some(b"{\"messages\":9}"));
    broker.write(b"count/event1/4000000000/1", Some(b"{\"messages\":2}"));
    let one = broker.instance();
    one.stats.wait_until_caught_up().await;
    one.count(1);
    one.stats.stop().await;
    assert_eq!(one.totals(), [3, 1, 1], "counts of 1970 are too old");
}
