//! Writes entries as fast as Kafka accepts them, and drops the others.
//!
//! The only queue is that of the Kafka client, and it is bounded. An entry is dropped and counted if the queue is
//! full or no broker accepts it in time. Delivery never waits for an entry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, counter, describe_counter};
use parking_lot::Mutex;
use tracing::warn;
use uuid::Uuid;

use super::entry::{CallStatus, LogEntry};
use super::{Config, MessageLogLevel};
use crate::kafka::producer::{self, BackgroundProducer};
use crate::kafka::{ClientConfig, KafkaError, errors};

/// Max entries in the client's queue, and their max size in KiB.
const MAX_QUEUED_ENTRIES: &str = "50000";
const MAX_QUEUED_KIB: &str = "16384";

/// How long an entry waits for a broker before it is dropped.
const WRITE_TIMEOUT_MS: &str = "30000";

/// How long entries wait to be sent in one batch. Larger batches cost less, and no reader needs entries sooner.
const LINGER_MS: &str = "50";

/// How often dropped entries are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The producer of the message log can't be created, because the Kafka client refuses a setting.
#[derive(Debug, thiserror::Error)]
#[error("can't create the producer of the message log: {0}")]
pub struct StartError(#[source] KafkaError);

/// Writes the message log.
pub struct LogWriter {
    level: MessageLogLevel,
    response_bytes: usize,
    /// None if nothing is logged.
    producer: Option<BackgroundProducer>,
}

impl LogWriter {
    /// `client` has the settings that reach the cluster (brokers, security).
    ///
    /// # Errors
    /// The Kafka client refuses a setting.
    pub fn new(config: &Config, client: &ClientConfig) -> Result<Arc<Self>, StartError> {
        let Config { level, topic, response_bytes, .. } = config.clone();
        let producer = (level != MessageLogLevel::Off).then(|| producer(&topic, client)).transpose();
        Ok(Arc::new(Self { level, response_bytes, producer: producer.map_err(StartError)? }))
    }

    /// How many bytes of the response an attempt's entry has, by the call's status and number of attempts so far;
    /// None if the attempt has no entry.
    pub fn wanted_response_bytes(&self, status: CallStatus, attempts: u32) -> Option<usize> {
        let is_wanted = match self.level {
            MessageLogLevel::All => true,
            MessageLogLevel::Failures => status != CallStatus::Delivered || attempts > 1,
            MessageLogLevel::Off => false,
        };
        is_wanted.then_some(self.response_bytes)
    }

    /// Queues an entry, or drops it. Never waits.
    pub fn write(&self, entry: &LogEntry) {
        let Some(producer) = &self.producer else { return };
        let (key, value) = (entry.key(), entry.value());
        producer.send(key.as_bytes(), &value, entry.at.as_millisecond());
    }

    #[cfg(test)]
    pub fn queued(&self) -> i32 {
        self.producer.as_ref().map_or(0, |producer| producer.queued())
    }

    /// Waits until all queued entries are written, at most for this time.
    pub async fn flush(self: Arc<Self>, within: Duration) {
        let flushing = tokio::task::spawn_blocking(move || {
            let producer = self.producer.as_ref()?;
            producer.flush(within).err().map(|reason| (producer.queued(), reason))
        });
        if let Ok(Some((left, reason))) = flushing.await {
            warn!("{left} message log entries are dropped at the stop: {reason}");
        }
    }
}

fn producer(topic: &str, client: &ClientConfig) -> Result<BackgroundProducer, KafkaError> {
    let losses = DroppedEntries {
        topic: topic.to_owned(),
        dropped: counter!("outhook_message_log_dropped_total"),
        last_logged: Mutex::default(),
    };
    BackgroundProducer::new(topic, &self::client(client), message, Box::new(move |reason| losses.record_drop(reason)))
}

/// The number of an entry's message, whose partition the reader expects it in.
fn message(key: &[u8]) -> u128 {
    Uuid::try_parse_ascii(key).unwrap_or_default().as_u128()
}

/// The settings of the client that writes entries.
pub fn client(client: &ClientConfig) -> ClientConfig {
    let mut settings = producer::settings(client, WRITE_TIMEOUT_MS);
    settings
        .set("linger.ms", LINGER_MS)
        .set("queue.buffering.max.messages", MAX_QUEUED_ENTRIES)
        .set("queue.buffering.max.kbytes", MAX_QUEUED_KIB)
        // Written entries need no report.
        .set("delivery.report.only.error", "true");
    settings
}

/// Counts dropped entries, and logs them at most once per [`LOG_INTERVAL`].
struct DroppedEntries {
    topic: String,
    dropped: Counter,
    last_logged: Mutex<Option<Instant>>,
}

impl DroppedEntries {
    fn record_drop(&self, reason: &KafkaError) {
        self.dropped.increment(1);
        let mut last_logged = self.last_logged.lock();
        if last_logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *last_logged = Some(Instant::now());
            warn!(
                topic = self.topic,
                "message log entries are dropped, and delivery continues: {}; \
                 outhook_message_log_dropped_total counts them",
                errors::error_text(reason)
            );
        }
    }
}

/// Registers the descriptions of the message log's metrics.
pub fn describe_metrics() {
    describe_counter!(
        "outhook_message_log_dropped_total",
        "Message log entries that were dropped because Kafka did not accept them in time"
    );
}
