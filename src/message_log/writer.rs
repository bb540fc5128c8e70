//! Writes entries as fast as Kafka takes them, and leaves out the others.
//!
//! The client's own queue is the only one, and bounded: an entry that finds no room in it, or that no broker takes in
//! time, is counted and gone. Delivery waits for none of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, counter, describe_counter};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Partitioner, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tracing::{debug, warn};
use uuid::Uuid;

use super::entry::{CallStatus, LogEntry};
use super::{Config, MessageLogLevel};
use crate::kafka::errors;
use crate::kafka::topic_reader::partition_of;

/// How many entries wait in the client at most, and how much they take, in KiB.
const QUEUED: &str = "50000";
const QUEUED_KIB: &str = "16384";

/// How long an entry waits for a broker before it is left out.
const WRITE_TIMEOUT_MS: &str = "30000";

/// How long entries wait to be sent together: nobody reads them sooner, and the more the cheaper.
const LINGER_MS: &str = "50";

/// How often it is told that entries are left out.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Writes the log.
pub struct LogWriter {
    level: MessageLogLevel,
    response_bytes: usize,
    topic: String,
    /// None where nothing is logged.
    producer: Option<ThreadedProducer<Losses, ByMessage>>,
}

impl LogWriter {
    /// `client` says how the cluster is reached (brokers, security).
    ///
    /// # Errors
    /// The Kafka client refuses a setting.
    pub fn new(config: &Config, client: &ClientConfig) -> Result<Arc<Self>, String> {
        let Config { level, topic, response_bytes, .. } = config.clone();
        let producer = (level != MessageLogLevel::Off).then(|| producer(&topic, client)).transpose();
        let producer = producer.map_err(|reason| format!("the producer of the message log can't be made: {reason}"))?;
        Ok(Arc::new(Self { level, response_bytes, topic, producer }))
    }

    /// How many bytes of its answer the entry of an attempt has, by how the call stands after so many; None if it has
    /// no entry at all.
    pub fn wants(&self, status: CallStatus, attempts: u32) -> Option<usize> {
        let is_wanted = match self.level {
            MessageLogLevel::All => true,
            MessageLogLevel::Failures => status != CallStatus::Delivered || attempts > 1,
            MessageLogLevel::Off => false,
        };
        is_wanted.then_some(self.response_bytes)
    }

    /// Queues an entry, or leaves it out. Never waits.
    pub fn write(&self, entry: &LogEntry) {
        let Some(producer) = &self.producer else { return };
        let (key, value) = (entry.key(), entry.value());
        let record = BaseRecord::to(&self.topic).key(&key).payload(&value).timestamp(entry.at.as_millisecond());
        if let Err((reason, _)) = producer.send(record) {
            producer.client().context().lost(&reason);
        }
    }

    #[cfg(test)]
    pub fn queued(&self) -> i32 {
        self.producer.as_ref().map_or(0, |producer| producer.in_flight_count())
    }

    /// Waits until all that is queued is written, or this time is over.
    pub async fn flush(self: Arc<Self>, within: Duration) {
        let flushing = tokio::task::spawn_blocking(move || {
            let producer = self.producer.as_ref()?;
            producer.flush(within).err().map(|reason| (producer.in_flight_count(), reason))
        });
        if let Ok(Some((left, reason))) = flushing.await {
            warn!("{left} entries of the message log are left out at the stop: {reason}");
        }
    }
}

fn producer(topic: &str, client: &ClientConfig) -> Result<ThreadedProducer<Losses, ByMessage>, KafkaError> {
    let losses = Losses {
        topic: topic.to_owned(),
        dropped: counter!("outhook_message_log_dropped_total"),
        told: Mutex::default(),
    };
    self::client(client).create_with_context(losses)
}

/// The settings of the client that writes entries.
pub fn client(client: &ClientConfig) -> ClientConfig {
    let mut settings = client.clone();
    settings
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", LINGER_MS)
        .set("message.timeout.ms", WRITE_TIMEOUT_MS)
        .set("queue.buffering.max.messages", QUEUED)
        .set("queue.buffering.max.kbytes", QUEUED_KIB)
        // What was written need not be told.
        .set("delivery.report.only.error", "true");
    settings
}

/// Counts the entries that were left out, and tells of them now and then.
struct Losses {
    topic: String,
    dropped: Counter,
    told: Mutex<Option<Instant>>,
}

impl Losses {
    fn lost(&self, reason: &KafkaError) {
        self.dropped.increment(1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            warn!(
                topic = self.topic,
                "entries of the message log are left out, while delivery goes on: {}; \
                 outhook_message_log_dropped_total counts them",
                errors::told(reason)
            );
        }
    }
}

impl ClientContext for Losses {
    // What matters of the client's errors is in what becomes of an entry.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!("the producer of the message log: {error}: {reason}");
    }
}

impl ProducerContext<ByMessage> for Losses {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((reason, _)) = result {
            self.lost(reason);
        }
    }

    fn get_custom_partitioner(&self) -> Option<&ByMessage> {
        Some(&ByMessage)
    }
}

/// Puts a message's entries where the journal looks for them.
struct ByMessage;

impl Partitioner for ByMessage {
    fn partition(&self, _: &str, key: Option<&[u8]>, partitions: i32, _: impl Fn(i32) -> bool) -> i32 {
        let message = key.and_then(|key| Uuid::try_parse_ascii(key).ok()).unwrap_or_default();
        let partition = partition_of(message.as_u128(), usize::try_from(partitions).unwrap_or(1));
        i32::try_from(partition).unwrap_or(0)
    }
}

/// Gives the recorder the descriptions of the log's metrics.
pub fn describe_metrics() {
    describe_counter!(
        "outhook_message_log_dropped_total",
        "Message log entries that were dropped because Kafka did not accept them in time"
    );
}
