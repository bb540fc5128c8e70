//! Replays and resends on librdkafka's own mock cluster.

use std::collections::HashMap;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::*;
use crate::decode::{Decoder, Format, Settings, WholeTables};
use crate::definition::TableKey;
use crate::definition::samples::{event, webhook};
use crate::id::{EventId, MessageId, RecordPosition};
use crate::matching::Index;
use crate::redelivery::Resender;
use crate::render::Renderer;
use crate::rules::{Rule, Target};
use crate::settle::RetriesConfig;
use crate::vocabulary::Operation;

const TOPIC: &str = "changes";
const TIME: Duration = Duration::from_secs(30);

struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    index: Arc<Index>,
}

impl Bench {
    /// A topic with these records, and an insert event of table `orders`.
    async fn new(records: &[&str]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        for tier in RetriesConfig::default().tiers().iter() {
            cluster.create_topic(&tier.topic, 1, 1).unwrap();
        }
        let webhook = webhook("crm001", "CRM");
        let event = event("event1", "crm001", Operation::Insert, "orders", &[]);
        let target = Arc::new(Target::of(&webhook).unwrap());
        let rule = Rule::compile(&webhook, &event, &target).unwrap();
        let index = Arc::new(Index::default());
        index.replace(&TableKey { account: webhook.account, table: event.object_name }, vec![Arc::new(rule)]);
        let bench = Self { cluster, index };
        let producer: FutureProducer = bench.client().into_iter().collect::<ClientConfig>().create().unwrap();
        for record in records {
            producer.send(FutureRecord::<(), _>::to(TOPIC).payload(*record), Timeout::Never).await.unwrap();
        }
        bench
    }

    fn client(&self) -> HashMap<String, String> {
        let brokers = ("bootstrap.servers".to_owned(), self.cluster.bootstrap_servers());
        [brokers, ("log_level".to_owned(), "0".to_owned())].into()
    }

    fn stages(&self) -> ReplayFactory {
        let index = self.index.clone();
        let settings = Settings { account: "acme".into(), ..Settings::new(Format::Outhook) };
        let decoder = move || Decoder::new(settings.clone().into(), WholeTables::default());
        let of_topic = move || pipeline::ReplayStages::new(decoder(), index.clone(), Renderer::default());
        Box::new(move |topic| (topic == TOPIC).then(&of_topic))
    }

    fn replay(&self) -> TopicReplay {
        let journal = TopicReader::new(TOPIC, self.client().into_iter().collect());
        TopicReplay::new(TOPIC, journal, (self.stages())(TOPIC).unwrap())
    }

    fn resend(&self) -> Resender {
        Resender::new(self.stages(), &RetriesConfig::default(), &self.client())
    }

    /// Number of calls in the first retry topic.
    async fn waiting(&self) -> i64 {
        let first = RetriesConfig::default().tiers().of(Duration::ZERO).topic.clone();
        let journal = TopicReader::new(&first, self.client().into_iter().collect());
        journal.extents(Vec::new(), TIME).await.unwrap()[0].end
    }
}

fn insert(table: &str, id: u32) -> String {
    format!("{{\"table\":\"{table}\",\"operation\":\"insert\",\"after\":{{\"id\":{id}}}}}")
}

fn place(offset: i64) -> RecordPosition {
    RecordPosition { topic: TOPIC.into(), partition: 0, offset }
}

fn event_id(id: &str) -> EventId {
    id.parse().unwrap()
}

#[tokio::test]
async fn replay_pages_make_calls_and_report_undecodable_records() {
    let orders: Vec<_> = (0..5).map(|id| insert("orders", id)).collect();
    let other = insert("animals", 9);
    let records: Vec<&str> = orders.iter().map(String::as_str).chain([other.as_str(), "{\"table\":"]).collect();
    let bench = Bench::new(&records).await;
    let replay = bench.replay();
    let (mut left, mut sums, mut calls, mut troubles) =
        (Spans::from([(0, (1, 7))]), ReplayCounts::default(), Vec::new(), Vec::new());
    while !left.is_empty() {
        let (page, then) = replay.read(left, 2).await.unwrap();
        assert!(page.calls.len() <= 2, "{page:?}");
        sums += page.counts;
        calls.extend(page.calls);
        troubles.extend(page.problems);
        left = then;
    }
    let expected = ReplayCounts { records: 6, fired: 4, messages: 4, calls: 4, undecodable: 1, too_large: 0 };
    assert_eq!(sums, expected);
    assert_eq!(calls.iter().map(|(call, _)| call.source_position.offset).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(
        troubles.len() == 1 && troubles[0].starts_with("0:6: the value is not a valid outhook record"),
        "{troubles:?}"
    );
    assert_eq!(bench.waiting().await, 0, "reading writes nothing");
}

#[tokio::test]
async fn resend_makes_the_same_message_and_rejects_anything_else() {
    let (first, other) = (insert("orders", 1), insert("animals", 2));
    let bench = Bench::new(&[&first, &other, "{\"table\":"]).await;
    let (page, _) = bench.replay().read(Spans::from([(0, (0, 1))]), 9).await.unwrap();
    let (call, _) = &page.calls[0];
    let resend = bench.resend();
    let one = async |place: RecordPosition, event: &str, message: MessageId| {
        resend.resend(&place, event_id(event), message, 0).await
    };

    assert_eq!(one(place(0), "event1", call.message).await.unwrap(), 1);
    assert_eq!(bench.waiting().await, 1);
    let foreign = MessageId(uuid::Uuid::from_u128(7));
    let elsewhere = RecordPosition { topic: "elsewhere".into(), ..place(0) };
    for (at, event, message, part) in [
        (place(0), "event1", foreign, "is a different row change now"),
        (place(0), "event2", call.message, "does not fire for its row change any more"),
        (place(1), "event1", call.message, "does not fire for its row change any more"),
        (place(2), "event1", call.message, "can't be decoded: the value is not a valid outhook record"),
        (place(9), "event1", call.message, "was deleted by its topic's retention"),
        (elsewhere, "event1", call.message, "topic elsewhere, which no source reads any more"),
    ] {
        let error = one(at, event, message).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(bench.waiting().await, 1, "nothing else went out");
}
