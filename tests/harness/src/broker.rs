//! The broker that the tests of a process share: real Kafka.

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
use crate::eventually;

mod reading;

/// Timeout of one request to the broker.
const PATIENCE: Duration = Duration::from_secs(30);

/// Timeout of a record's acknowledgement: longer than tests keep brokers stopped.
const WRITE_PATIENCE: Duration = Duration::from_secs(120);

/// A broker, and the operations that tests need.
pub struct Broker {
    bootstrap: String,
    replicas: i32,
    names: AtomicUsize,
}

impl Broker {
    /// Returns the broker of this test process. The first call starts it.
    ///
    /// # Panics
    /// Kafka can't be started.
    pub fn get() -> &'static Broker {
        // A static is never dropped: the watchers of the broker processes end them with the test process.
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        static BROKER: OnceLock<Broker> = OnceLock::new();
        BROKER.get_or_init(|| match Cluster::start(1) {
            Ok(cluster) => {
                let broker = CLUSTER.get_or_init(|| cluster).broker();
                eprintln!("test broker: Apache Kafka 4.1.1 at {}", broker.bootstrap);
                broker
            }
            Err(reason) => panic!("there is no Kafka for the tests: {reason}"),
        })
    }

    pub(crate) fn at(bootstrap: String, brokers: i32) -> Broker {
        Broker { bootstrap, replicas: brokers.min(3), names: AtomicUsize::new(0) }
    }

    /// Bootstrap address: `127.0.0.1:12345`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns a name that is unique in this test process.
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a topic and waits until it can be used.
    ///
    /// # Panics
    /// The broker rejects the request.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.admin_create(name, partitions, config);
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
            result.unwrap_or_else(|(topic, code)| panic!("can't create the topic {topic}: {code}"));
        }
    }

    /// Sets these settings of a topic and resets all others. Only on real Kafka.
    ///
    /// # Panics
    /// The broker rejects the request.
    pub fn configure_topic(&self, name: &str, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let wanted =
            AlterConfig { specifier: ResourceSpecifier::Topic(name), entries: config.iter().copied().collect() };
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let results = wait(admin.alter_configs([&wanted], &options)).expect("the broker answers");
        assert!(results.iter().all(Result::is_ok), "can't configure the topic: {results:?}");
    }

    /// Deletes a topic. Only on real Kafka.
    ///
    /// # Panics
    /// The broker rejects the request.
    pub fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let results = wait(admin.delete_topics(&[name], &options)).expect("the broker answers");
        assert!(results.iter().all(Result::is_ok), "can't delete the topic: {results:?}");
    }

    /// Deletes the records of each partition before an offset, as retention does. Only on real Kafka.
    ///
    /// # Panics
    /// The broker rejects the request.
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
    /// A record is not acknowledged.
    pub fn produce<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, topic: &str, records: impl IntoIterator<Item = (K, V)>) {
        let producer = self.producer();
        for (key, value) in records {
            send(&producer, BaseRecord::to(topic).key(key.as_ref()).payload(value.as_ref()));
        }
        acknowledged(&producer);
    }

    /// Produces one record of arbitrary bytes: without a key, or without a value for a tombstone.
    ///
    /// # Panics
    /// The record is not acknowledged.
    pub fn produce_raw(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) {
        let producer = self.producer();
        let record = BaseRecord { key, payload: value, ..BaseRecord::<[u8], [u8]>::to(topic) };
        send(&producer, record);
        acknowledged(&producer);
    }

    /// Produces values to the first partition in one batch, compressed with Zstandard, without a size limit.
    ///
    /// # Panics
    /// The records are not acknowledged.
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

    /// Produces values to a partition in a transaction, then commits or aborts it. Either way a marker follows the
    /// values.
    ///
    /// # Panics
    /// The broker rejects a request.
    pub fn produce_in_transaction<V: AsRef<[u8]>>(&self, topic: &str, partition: i32, values: &[V], commits: bool) {
        let mut config = self.producer_config();
        config.set("transactional.id", self.unique("transaction"));
        config.set("message.timeout.ms", "30000").set("transaction.timeout.ms", "30000");
        let producer: BaseProducer<Acknowledgements> =
            config.create_with_context(Acknowledgements::default()).expect("the settings are librdkafka's");
        producer.init_transactions(PATIENCE).expect("the broker supports transactions");
        producer.begin_transaction().expect("none is open");
        for value in values {
            send(&producer, BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value.as_ref()));
        }
        acknowledged(&producer);
        let ended = if commits { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
        ended.expect("the broker ends the transaction");
    }

    /// Adds partitions to a topic until it has `count`. Only on real Kafka.
    ///
    /// # Panics
    /// The broker rejects the request.
    pub fn add_partitions(&self, topic: &str, count: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the settings are librdkafka's");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let results = wait(admin.create_partitions([&NewPartitions::new(topic, count)], &options));
        let results = results.expect("the broker answers");
        assert!(results.iter().all(Result::is_ok), "can't add partitions: {results:?}");
    }

    /// Appends records, each to its partition. Their `offset` is ignored.
    ///
    /// # Panics
    /// A record is not acknowledged.
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

    /// Committed offsets of a group, by partition. `None` without a commit.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let commits = self.commits(group, topic).into_iter();
        commits.map(|commit| commit.map(|(offset, _)| offset)).collect()
    }

    /// Committed offsets and metadata of a group, by partition.
    pub fn commits(&self, group: &str, topic: &str) -> Vec<Option<(i64, String)>> {
        let consumer = self.consumer(&[("group.id", group)]);
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, self.partitions(topic) - 1);
        let committed = answered("the committed offsets", || consumer.committed_offsets(asked.clone(), PATIENCE));
        committed
            .elements()
            .iter()
            .map(|element| match element.offset() {
                Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
                _ => None,
            })
            .collect()
    }

    /// Commits an offset for a group without members, as command-line tools do.
    ///
    /// # Panics
    /// The broker rejects the commit.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64, metadata: &str) {
        let consumer = self.consumer(&[("group.id", group)]);
        let mut commit = TopicPartitionList::new();
        let mut element = commit.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset)).expect("the test's offset is one");
        element.set_metadata(metadata);
        consumer.commit(&commit, CommitMode::Sync).expect("the broker accepts the commit");
    }

    /// The offset after the last record, by partition.
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let consumer = self.consumer(&[]);
        let end = |partition| answered("the end offset", || consumer.fetch_watermarks(topic, partition, PATIENCE)).1;
        (0..self.partitions(topic)).map(end).collect()
    }

    /// Waits until a group has committed everything in a topic.
    #[track_caller]
    pub fn await_committed(&self, group: &str, topic: &str, within: Duration) {
        let ends = self.ends(topic);
        eventually(&format!("{group} commits all of {topic}: {ends:?}"), within, || {
            let committed = self.committed(group, topic);
            committed.iter().zip(&ends).all(|(committed, end)| committed.unwrap_or(0) == *end).then_some(())
        });
    }

    fn partitions(&self, topic: &str) -> i32 {
        let consumer = self.consumer(&[]);
        let metadata = answered("the topics", || consumer.fetch_metadata(Some(topic), PATIENCE));
        metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        if self.replicas > 1 {
            // A broker that hangs accepts connections. Other brokers answer for it after 9 s.
            config.set("socket.timeout.ms", "10000").set("socket.connection.setup.timeout.ms", "5000");
            config.set("api.version.request.timeout.ms", "5000");
        }
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
        // Idempotence prevents copies when a write is retried because its broker has gone. It costs half a second at
        // the start. With one broker it is not needed, because tests do not kill that broker. If a broker hangs, its
        // partitions have other leaders after 9 s.
        if self.replicas > 1 {
            config.set("enable.idempotence", "true");
        }
        config
    }
}

/// Keeps the first delivery error of a producer.
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

/// Repeats a request until it is answered: one that went to a broker which hangs or starts fails, and the next one goes
/// to its successor.
#[track_caller]
fn answered<T>(what: &str, request: impl Fn() -> Result<T, KafkaError>) -> T {
    eventually(&format!("a broker returns {what}"), WRITE_PATIENCE, || {
        request().inspect_err(|error| println!("no broker has returned {what}: {error}")).ok()
    })
}

fn send(producer: &BaseProducer<Acknowledgements>, mut record: BaseRecord<'_, [u8], [u8]>) {
    while let Err((error, refused)) = producer.send(record) {
        let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        assert!(full, "can't produce a record: {error}");
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

/// Blocks on a future in a new thread, so it works inside a runtime and outside.
fn wait<F: Future<Output: Send> + Send>(future: F) -> F::Output {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(future)).join().expect("rdkafka does not panic"))
}
