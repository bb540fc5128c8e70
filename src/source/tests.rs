//! The source with an embedded broker: which member gets which record, and which offsets are committed.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::completion::{CommitMetadata, RecordFingerprint};
use super::*;
use crate::lifecycle::Readiness;
use crate::receipt::Budget;

mod unreadable;
mod waiting;

const TOPIC: &str = "changes";
const OTHER_TOPIC: &str = "other-changes";
const PARTITIONS: i32 = 4;

type Broker = MockCluster<'static, DefaultProducerContext>;

/// The records that the handlers of one member have seen, and the receipts that they keep.
#[derive(Default)]
struct Seen {
    values: Mutex<Vec<String>>,
    kept: Mutex<Vec<Receipt>>,
    unreadable: Mutex<Vec<UnreadableRange>>,
    keep_unreadable: AtomicBool,
    /// Values of records whose receipts are kept open.
    keep: BTreeSet<&'static str>,
    more: Notify,
}

impl Seen {
    fn keeping(values: impl IntoIterator<Item = &'static str>) -> Arc<Self> {
        Arc::new(Self { keep: values.into_iter().collect(), ..Self::default() })
    }

    async fn until(&self, count: usize) {
        while self.values.lock().unwrap().len() < count {
            self.more.notified().await;
        }
    }

    fn values(&self) -> BTreeSet<String> {
        self.values.lock().unwrap().iter().cloned().collect()
    }
}

struct Recorder(Arc<Seen>);

impl Handler for Recorder {
    async fn handle(&mut self, record: Record<'_>, receipt: Receipt) {
        let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        if self.0.keep.contains(value.as_str()) {
            self.0.kept.lock().unwrap().push(receipt);
        } else {
            receipt.share(0).settle();
            receipt.settle();
        }
        self.0.values.lock().unwrap().push(value);
        self.0.more.notify_one();
    }

    fn dead_letter_unreadable(&mut self, offsets: &UnreadableRange, receipt: Receipt) {
        self.0.unreadable.lock().unwrap().push(offsets.clone());
        match self.0.keep_unreadable.load(Ordering::SeqCst) {
            true => self.0.kept.lock().unwrap().push(receipt),
            false => receipt.settle(),
        }
    }
}

struct Recorders(Arc<Seen>);

impl HandlerFactory for Recorders {
    type Handler = Recorder;
    type Backlog = Infallible;

    fn for_partition(&self, topic: &str, _: i32) -> Option<ReadMode<Recorder, Infallible>> {
        assert!([TOPIC, OTHER_TOPIC].contains(&topic), "{topic}");
        Some(ReadMode::Sequential(Recorder(self.0.clone())))
    }
}

fn broker() -> Broker {
    let broker = MockCluster::new(1).unwrap();
    broker.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    broker
}

fn client(broker: &Broker) -> HashMap<String, String> {
    let settings = [
        ("bootstrap.servers", broker.bootstrap_servers()),
        ("group.id", "group".to_owned()),
        ("auto.offset.reset", "earliest".to_owned()),
        ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
        // The embedded broker waits for a session timeout before it ends a rebalance.
        ("session.timeout.ms", "6000".to_owned()),
        ("heartbeat.interval.ms", "500".to_owned()),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn join(broker: &Broker, seen: &Arc<Seen>) -> Source<Recorders> {
    join_with(seen, &config(broker))
}

fn join_with(seen: &Arc<Seen>, config: &Config) -> Source<Recorders> {
    Source::start(config, Recorders(seen.clone()), Budget::new(1 << 20)).unwrap()
}

fn config(broker: &Broker) -> Config {
    Config {
        name: "changes",
        client: client(broker),
        former_group: None,
        topics: vec![Subscription::List(vec![TOPIC.to_owned()])],
        commit_interval: Duration::from_millis(20),
        drain_deadline: Duration::from_secs(1),
        max_open_records: 1000,
        max_uncommitted: 1000,
        readiness: Readiness::default(),
    }
}

async fn produce(broker: &Broker, values: impl IntoIterator<Item = (i32, String)>) {
    produce_to(TOPIC, broker, values).await;
}

async fn produce_to(topic: &str, broker: &Broker, values: impl IntoIterator<Item = (i32, String)>) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap_servers()).create().unwrap();
    for (partition, value) in values {
        let record = FutureRecord::<str, str>::to(topic).partition(partition).payload(&value);
        producer.send(record, Duration::from_secs(5)).await.unwrap();
    }
}

/// The group's committed offset of each partition; None if there is none.
async fn committed(broker: &Broker) -> Vec<Option<i64>> {
    committed_of(TOPIC, broker).await
}

async fn committed_of(topic: &'static str, broker: &Broker) -> Vec<Option<i64>> {
    let settings = client(broker);
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = settings.into_iter().collect::<ClientConfig>().create().unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(topic, 0, PARTITIONS - 1);
        let offsets = consumer.committed_offsets(partitions, Duration::from_secs(5)).unwrap();
        let raw = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        offsets.elements().iter().map(|element| raw(element.offset())).collect()
    })
    .await
    .unwrap()
}

async fn stop(source: Source<Recorders>) -> usize {
    let drained = source.drain().await;
    let left = source.leave(drained).await;
    assert!(left.all_committed);
    left.unsettled
}

fn names(range: std::ops::Range<i32>) -> impl Iterator<Item = (i32, String)> {
    range.map(|n| (n % PARTITIONS, format!("r{n}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_records_are_committed_and_not_read_again() {
    let broker = broker();
    produce(&broker, names(0..40)).await;
    let first = Seen::keeping([]);
    let source = join(&broker, &first);
    first.until(40).await;
    assert_eq!(stop(source).await, 0);
    assert_eq!(committed(&broker).await, vec![Some(10); 4]);

    produce(&broker, names(40..44)).await;
    let second = Seen::keeping([]);
    let source = join(&broker, &second);
    second.until(4).await;
    assert_eq!(second.values(), names(40..44).map(|(_, value)| value).collect());
    stop(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_record_blocks_the_commit_and_is_read_again() {
    let broker = broker();
    produce(&broker, (0..5).map(|n| (0, format!("r{n}")))).await;
    let first = Seen::keeping(["r2"]);
    let source = join(&broker, &first);
    first.until(5).await;
    assert_eq!(stop(source).await, 1, "the two behind it have settled");
    assert_eq!(committed(&broker).await[0], Some(2));

    produce(&broker, [(0, "r5".to_owned())]).await;
    let second = Seen::keeping([]);
    let source = join(&broker, &second);
    second.until(2).await;
    assert_eq!(second.values(), ["r2", "r5"].map(String::from).into(), "settled records are not read again");
    assert_eq!(stop(source).await, 0);
    assert_eq!(committed(&broker).await[0], Some(6));
}

/// Commits an offset with the metadata of a log that had another record before it.
async fn commit_of_another_log(broker: &Broker, offset: i64) {
    let settings = client(broker);
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = settings.into_iter().collect::<ClientConfig>().create().unwrap();
        let cluster = consumer.client().fetch_cluster_id(Duration::from_secs(5)).unwrap_or_default();
        let log = RecordFingerprint { offset: offset - 1, timestamp: 1 };
        let mut partitions = TopicPartitionList::new();
        let mut element = partitions.add_partition(TOPIC, 0);
        element.set_offset(Offset::Offset(offset)).unwrap();
        element.set_metadata(CommitMetadata::encode(&cluster, log, log, 0, std::iter::empty()));
        consumer.commit(&partitions, CommitMode::Sync).unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_other_than_the_committed_one_is_read_from_its_start() {
    for committed_before in [3, 5, 9] {
        let broker = broker();
        produce(&broker, (0..5).map(|n| (0, format!("r{n}")))).await;
        commit_of_another_log(&broker, committed_before).await;
        let seen = Seen::keeping([]);
        let source = join(&broker, &seen);
        tokio::time::timeout(Duration::from_secs(60), seen.until(5)).await.expect("all of it is read");
        stop(source).await;
        assert_eq!(committed(&broker).await[0], Some(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_without_maps_if_a_broker_refuses_maps() {
    let broker = broker();
    produce(&broker, (0..5).map(|n| (0, format!("r{n}")))).await;
    broker.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE]);
    let first = Seen::keeping(["r2"]);
    let source = join(&broker, &first);
    first.until(5).await;
    stop(source).await;
    assert_eq!(committed(&broker).await[0], Some(2));

    let second = Seen::keeping([]);
    let source = join(&broker, &second);
    second.until(3).await;
    assert_eq!(second.values(), ["r2", "r3", "r4"].map(String::from).into());
    stop(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_pauses_while_commits_fail() {
    let broker = broker();
    produce(&broker, (0..100).map(|n| (0, format!("r{n}")))).await;
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 10_000];
    broker.request_errors(RDKafkaApiKey::OffsetCommit, &refusals);
    let seen = Seen::keeping([]);
    let source = join_with(&seen, &Config { max_uncommitted: 10, ..config(&broker) });
    seen.until(10).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(seen.values().len(), 10, "this number of records is sent again after a crash now");
    broker.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    seen.until(100).await;
    assert_eq!(stop(source).await, 0);
    assert_eq!(committed(&broker).await[0], Some(100));
}

/// Ten records at a time. The commit interval is an hour, so only hurried commits happen earlier.
#[tokio::test(flavor = "multi_thread")]
async fn commit_is_early_when_many_records_wait_for_it() {
    let broker = broker();
    produce(&broker, (0..100).map(|n| (0, format!("r{n}")))).await;
    let seen = Seen::keeping([]);
    let hour = Duration::from_secs(3600);
    let source = join_with(&seen, &Config { max_uncommitted: 10, commit_interval: hour, ..config(&broker) });
    tokio::time::timeout(Duration::from_secs(60), seen.until(100)).await.expect("commits do not wait for the interval");
    stop(source).await;
}

/// A commit that the broker refuses for one topic may have been accepted for the others.
#[tokio::test(flavor = "multi_thread")]
async fn topic_with_refused_commits_does_not_block_others() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_NO_ERROR as TAKEN, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as REFUSED,
    };
    let broker = broker();
    broker.create_topic(OTHER_TOPIC, PARTITIONS, 1).unwrap();
    produce(&broker, names(0..8)).await;
    produce_to(OTHER_TOPIC, &broker, names(8..16)).await;
    let seen = Seen::keeping([]);
    let (topics, hour) =
        (vec![Subscription::List(vec![TOPIC.to_owned(), OTHER_TOPIC.to_owned()])], Duration::from_secs(3600));
    let source = join_with(&seen, &Config { topics, commit_interval: hour, ..config(&broker) });
    seen.until(16).await;
    // For the commit of both topics, of each topic, and of all retries.
    let answers = [[REFUSED, REFUSED, TAKEN].as_slice(), &[REFUSED; 1000]].concat();
    broker.request_errors(RDKafkaApiKey::OffsetCommit, &answers);
    let drained = source.drain().await;
    let leaving = tokio::time::Instant::now();
    assert!(!source.leave(drained).await.all_committed);
    assert!(leaving.elapsed() < commit_loop::LEAVE_TIMEOUT, "the stop waited too long: {:?}", leaving.elapsed());
    assert_eq!(committed_of(TOPIC, &broker).await, vec![None; 4], "the first by name is refused");
    assert_eq!(committed_of(OTHER_TOPIC, &broker).await, vec![Some(2); 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_move_to_a_second_member_lose_or_repeat_nothing() {
    let broker = broker();
    let (first, second) = (Seen::keeping([]), Seen::keeping([]));
    let one = join(&broker, &first);
    produce(&broker, names(0..20)).await;
    first.until(20).await;

    let two = join(&broker, &second);
    two.wait_until_assigned().await;
    while one.partitions() != 2 || two.partitions() != 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    produce(&broker, names(20..40)).await;
    second.until(10).await;
    first.until(30).await;
    let all: Vec<String> = [&first, &second].iter().flat_map(|seen| seen.values.lock().unwrap().clone()).collect();
    assert_eq!(all.len(), 40);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 40);
    assert_eq!(stop(one).await + stop(two).await, 0);
    assert_eq!(committed(&broker).await, vec![Some(10); 4]);
}
