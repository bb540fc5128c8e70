//! The broker that a test process shares: real Kafka, or the embedded cluster where that is wanted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

pub use self::reading::{Position, Stored};
use crate::cluster::Cluster;
use crate::embedded::Embedded;
use crate::eventually;

mod reading;

/// How long one request to the broker may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long records may take to be acknowledged: longer than tests keep brokers away.
const WRITE_PATIENCE: Duration = Duration::from_secs(120);

/// What chooses the broker: `embedded` is the embedded cluster, all else real Kafka.
const CHOICE: &str = "OUTHOOK_TEST_KAFKA";

/// A broker, and what tests do with it.
pub struct Broker {
    bootstrap: String,
    kind: Kind,
    replicas: i32,
    embedded: Option<Embedded>,
    names: AtomicUsize,
}

/// What a broker is, since the embedded one can't do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Apache Kafka in a process of its own.
    Kafka,
    /// librdkafka's mock cluster: no fencing, no topic configuration, no admin requests.
    Embedded,
}

impl Broker {
    /// The broker of this test process, started by whoever asks first.
    ///
    /// # Panics
    /// Real Kafka can't be started: no instance runs on the embedded cluster, which answers no administrators.
    pub fn get() -> &'static Broker {
        // A static is never dropped: the watchers of its processes end them with the test process.
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        static BROKER: OnceLock<Broker> = OnceLock::new();
        BROKER.get_or_init(|| {
            let choice = std::env::var(CHOICE).unwrap_or_default();
            if choice == "embedded" {
                return Broker::embedded(&format!("{CHOICE}=embedded"));
            }
            match Cluster::start(1) {
                Ok(cluster) => {
                    let broker = CLUSTER.get_or_init(|| cluster).broker();
                    eprintln!("test broker: Apache Kafka 4.1.1 at {}", broker.bootstrap);
                    broker
                }
                Err(reason) => panic!("there is no Kafka for the tests: {reason}"),
            }
        })
    }

    fn embedded(reason: &str) -> Broker {
        let embedded = Embedded::start();
        let broker = Broker::at(embedded.bootstrap.clone(), Kind::Embedded, 1);
        eprintln!("test broker: embedded (librdkafka's mock cluster) at {}, because: {reason}", broker.bootstrap);
        Broker { embedded: Some(embedded), ..broker }
    }

    pub(crate) fn at(bootstrap: String, kind: Kind, brokers: i32) -> Broker {
        Broker { bootstrap, kind, replicas: brokers.min(3), embedded: None, names: AtomicUsize::new(0) }
    }

    /// Where clients connect first: `127.0.0.1:12345`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether this is real Kafka; if not, says on stderr what the caller therefore leaves out.
    pub fn is_kafka_for(&self, what: &str) -> bool {
        if self.kind == Kind::Embedded {
            eprintln!("NOT SHOWN on the embedded broker: {what}");
        }
        self.kind == Kind::Kafka
    }

    /// A name that no other test has.
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a topic and waits until it can be used. The embedded broker leaves `config` out.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        match &self.embedded {
            Some(embedded) => embedded.create_topic(name, partitions).expect("the mock cluster makes any topic"),
            None => self.admin_create(name, partitions, config),
        }
        let client = self.consumer(&[]);
        eventually(&format!("the topic {name} has its leaders"), PATIENCE, || {
            let metadata = client.fetch_metadata(Some(name), PATIENCE).ok()?;
            let found = metadata.topics().first()?.partitions();
            (found.len() == partitions as usize && found.iter().all(|found| found.leader() >= 0)).then_some(())
        });
    }

    fn admin_create(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.replicas));
        topic.config = config.to_vec();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let results = wait(admin.create_topics([&topic], &options)).expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("the topic {topic} can't be made: {code}"));
        }
    }

    /// Gives a topic these settings and no others, which only real Kafka can.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn configure_topic(&self, name: &str, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let wanted =
            AlterConfig { specifier: ResourceSpecifier::Topic(name), entries: config.iter().copied().collect() };
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let results = wait(admin.alter_configs([&wanted], &options)).expect("the broker answers");
        assert!(results.iter().all(Result::is_ok), "the topic can't be configured: {results:?}");
    }

    /// Deletes a topic, which only real Kafka can.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let results = wait(admin.delete_topics(&[name], &options)).expect("the broker answers");
        assert!(results.iter().all(Result::is_ok), "the topic can't be deleted: {results:?}");
    }

    /// Deletes the records of each partition before an offset, as retention does; only real Kafka can.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn delete_before(&self, topic: &str, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let mut before = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("it is an offset");
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let deleted = wait(admin.delete_records(&before, &options)).expect("the broker answers");
        assert!(deleted.elements().iter().all(|element| element.error().is_ok()), "not deleted: {deleted:?}");
    }

    /// Produces records with keys and values and waits until all are acknowledged.
    ///
    /// # Panics
    /// One is not acknowledged.
    pub fn produce<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, topic: &str, records: impl IntoIterator<Item = (K, V)>) {
        let producer = self.producer();
        for (key, value) in records {
            send(&producer, BaseRecord::to(topic).key(key.as_ref()).payload(value.as_ref()));
        }
        acknowledged(&producer);
    }

    /// Produces one record of any bytes: no key, or no value for a tombstone.
    ///
    /// # Panics
    /// It is not acknowledged.
    pub fn produce_raw(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) {
        let producer = self.producer();
        let record = BaseRecord { key, payload: value, ..BaseRecord::<[u8], [u8]>::to(topic) };
        send(&producer, record);
        acknowledged(&producer);
    }

    /// Produces values to the first partition in one batch, compressed by Zstandard, however large they are.
    ///
    /// # Panics
    /// They are not acknowledged.
    pub fn produce_in_one_batch(&self, topic: &str, values: &[&[u8]]) {
        let mut config = self.producer_config();
        config.set("compression.type", "zstd").set("linger.ms", "2000");
        config.set("message.max.bytes", "1000000000").set("batch.size", "1000000000");
        let producer = config.create_with_context(Acknowledgements::default()).expect("the settings are librdkafka's");
        for value in values {
            send(&producer, BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(value));
        }
        acknowledged(&producer);
    }

    /// Produces values to a partition in a transaction, and commits or aborts it. Either leaves a marker behind them.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn produce_in_transaction<V: AsRef<[u8]>>(&self, topic: &str, partition: i32, values: &[V], commits: bool) {
        let mut config = self.producer_config();
        config.set("transactional.id", self.unique("transaction"));
        config.set("message.timeout.ms", "30000").set("transaction.timeout.ms", "30000");
        let producer: BaseProducer<Acknowledgements> =
            config.create_with_context(Acknowledgements::default()).expect("the settings are librdkafka's");
        producer.init_transactions(PATIENCE).expect("the broker knows transactions");
        producer.begin_transaction().expect("none is open");
        for value in values {
            send(&producer, BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value.as_ref()));
        }
        acknowledged(&producer);
        let ended = if commits { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
        ended.expect("the broker ends it");
    }

    /// Adds partitions to a topic until it has so many, which only real Kafka can.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn add_partitions(&self, topic: &str, count: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let results = wait(admin.create_partitions([&NewPartitions::new(topic, count)], &options));
        let results = results.expect("the broker answers");
        assert!(results.iter().all(Result::is_ok), "partitions can't be added: {results:?}");
    }

    /// Writes records as they are given, each into its partition; where they stood before does not matter.
    ///
    /// # Panics
    /// One is not acknowledged.
    pub fn append(&self, topic: &str, records: &[Stored]) {
        let producer = self.producer();
        for Stored { partition, timestamp_ms, key, value, headers, .. } in records {
            let headers = headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let record =
                BaseRecord::<[u8], [u8]>::to(topic).partition(*partition).timestamp(*timestamp_ms).headers(headers);
            send(&producer, BaseRecord { key: key.as_deref(), payload: value.as_deref(), ..record });
        }
        acknowledged(&producer);
    }

    /// What a group has committed, by partition; None where it never did.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let commits = self.commits(group, topic).into_iter();
        commits.map(|commit| commit.map(|(offset, _)| offset)).collect()
    }

    /// The same with the commits' metadata.
    pub fn commits(&self, group: &str, topic: &str) -> Vec<Option<(i64, String)>> {
        let consumer = self.consumer(&[("group.id", group)]);
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, self.partitions(topic) - 1);
        let committed = consumer.committed_offsets(asked, PATIENCE).expect("the broker tells what is committed");
        committed
            .elements()
            .iter()
            .map(|element| match element.offset() {
                Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
                _ => None,
            })
            .collect()
    }

    /// Commits for a group that has no members, as tools do.
    ///
    /// # Panics
    /// The broker refuses it.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64, metadata: &str) {
        let consumer = self.consumer(&[("group.id", group)]);
        let mut commit = TopicPartitionList::new();
        let mut element = commit.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset)).expect("the test's offset is one");
        element.set_metadata(metadata);
        consumer.commit(&commit, CommitMode::Sync).expect("the broker takes the commit");
    }

    /// The offset behind the last record, by partition.
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let consumer = self.consumer(&[]);
        let end =
            |partition| consumer.fetch_watermarks(topic, partition, PATIENCE).expect("the broker tells the end").1;
        (0..self.partitions(topic)).map(end).collect()
    }

    /// Waits until a group has committed everything that is in a topic.
    #[track_caller]
    pub fn await_committed(&self, group: &str, topic: &str, within: Duration) {
        let ends = self.ends(topic);
        eventually(&format!("{group} commits all of {topic}: {ends:?}"), within, || {
            let committed = self.committed(group, topic);
            committed.iter().zip(&ends).all(|(committed, end)| committed.unwrap_or(0) == *end).then_some(())
        });
    }

    fn partitions(&self, topic: &str) -> i32 {
        let metadata = self.consumer(&[]).fetch_metadata(Some(topic), PATIENCE).expect("the broker lists its topics");
        metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn consumer(&self, settings: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.client();
        config.set("enable.auto.commit", "false").set("group.id", "harness");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().expect("the settings are librdkafka's")
    }

    fn producer(&self) -> BaseProducer<Acknowledgements> {
        self.producer_config().create_with_context(Acknowledgements::default()).expect("the settings are librdkafka's")
    }

    fn producer_config(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("linger.ms", "5").set("compression.type", "lz4");
        config.set("message.timeout.ms", WRITE_PATIENCE.as_millis().to_string());
        // A write that is tried again because its broker has gone leaves no record twice. It costs half a second at the
        // start, and where there is one broker it is not killed. One that hangs has other leaders for its partitions
        // after 9 s.
        if self.replicas > 1 {
            config.set("enable.idempotence", "true").set("socket.timeout.ms", "10000");
        }
        config
    }
}

/// Keeps the first failure of a producer's records.
#[derive(Clone, Default)]
struct Acknowledgements(Arc<Mutex<Option<KafkaError>>>);

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().expect("no holder panics").get_or_insert_with(|| error.clone());
        }
    }
}

fn send(producer: &BaseProducer<Acknowledgements>, mut record: BaseRecord<'_, [u8], [u8]>) {
    while let Err((error, refused)) = producer.send(record) {
        let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        assert!(full, "a record can't be produced: {error}");
        producer.poll(Duration::from_millis(100));
        record = refused;
    }
}

fn acknowledged(producer: &BaseProducer<Acknowledgements>) {
    producer.flush(WRITE_PATIENCE).expect("the broker acknowledges in time");
    if let Some(error) = producer.context().0.lock().expect("no holder panics").take() {
        panic!("a record was not acknowledged: {error}");
    }
}

/// Waits for a future, in a thread of its own so that the caller may be part of a runtime or not.
fn wait<F: Future<Output: Send> + Send>(future: F) -> F::Output {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(future)).join().expect("rdkafka does not panic"))
}
