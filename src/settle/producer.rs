//! The Kafka clients that write: how they are set, and one that is made anew when it is broken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use tracing::warn;

use super::outgoing::Outgoing;
use crate::render::MAX_MESSAGE_BYTES;

/// The most that records take which wait in the client to be sent, beside what the byte budget counts, in KiB.
const CLIENT_QUEUE_KIB: &str = "32768";

/// How long a client whose own queue is full is left alone.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);

/// The largest record: a message as it was, and what its headers and framing add.
pub const MAX_RECORD_BYTES: usize = MAX_MESSAGE_BYTES + 2 * 1024 * 1024;

/// What a producer needs, beside how the cluster is reached, so that what it says is written is written.
pub(super) fn settings(client: &ClientConfig, timeout_ms: &str) -> ClientConfig {
    let mut settings = client.clone();
    settings
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("message.timeout.ms", timeout_ms)
        .set("queue.buffering.max.kbytes", CLIENT_QUEUE_KIB)
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string());
    settings
}

/// The same for one that writes each record in a batch of its own. A topic's max.message.bytes is that of batches, so
/// only of such a one is known which record is too large; and none of its records is refused for the size of another.
pub(super) fn alone(settings: &ClientConfig) -> ClientConfig {
    let mut settings = settings.clone();
    settings.set("batch.num.messages", "1");
    settings
}

/// Whether a topic, or the client, does not take a record or its batch for its size.
pub(super) fn is_too_large(reason: &KafkaError) -> bool {
    use RDKafkaErrorCode::{MessageBatchTooLarge, MessageSizeTooLarge};
    // The second is of a batch that is larger than the topic's segments.
    matches!(reason, KafkaError::MessageProduction(MessageSizeTooLarge | MessageBatchTooLarge))
}

/// A producer that is made when there is something to write, and anew when it is broken.
pub(super) struct Renewed {
    settings: ClientConfig,
    producer: Mutex<Option<FutureProducer>>,
}

impl Renewed {
    pub fn new(settings: ClientConfig) -> Self {
        Self { settings, producer: Mutex::default() }
    }

    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// The Kafka client refuses its settings.
    pub fn get(&self) -> Result<FutureProducer, KafkaError> {
        let mut producer = self.lock();
        match &*producer {
            Some(producer) => Ok(producer.clone()),
            None => Ok(producer.insert(self.settings.create()?).clone()),
        }
    }

    /// Writes a record once; resolves when it is acknowledged.
    pub async fn write(&self, topic: &str, record: &Outgoing) -> Result<(), KafkaError> {
        let written = produce(&self.get()?, topic, record).await;
        if written.is_err() {
            self.drop_broken();
        }
        written
    }

    /// After a fatal error, such as a sequence that the broker knows otherwise, an idempotent producer refuses
    /// every record for ever.
    fn drop_broken(&self) {
        let mut producer = self.lock();
        let fatal = producer.as_ref().and_then(|producer| producer.client().fatal_error());
        if let Some((_, reason)) = fatal {
            warn!(%reason, "a producer is replaced after a fatal error");
            *producer = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<FutureProducer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a record once; resolves when it is acknowledged.
pub(super) async fn produce(producer: &FutureProducer, topic: &str, record: &Outgoing) -> Result<(), KafkaError> {
    match producer.send(future_record(topic, record), Timeout::Never).await {
        Ok(_) => Ok(()),
        Err((reason, _)) => Err(reason),
    }
}

/// Hands a record to the client, behind all that it was handed before. Waits while the client's own queue is full.
pub(super) async fn begin(
    producer: &FutureProducer,
    topic: &str,
    record: &Outgoing,
) -> Result<DeliveryFuture, KafkaError> {
    loop {
        match producer.send_result(future_record(topic, record)) {
            Ok(delivery) => return Ok(delivery),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                tokio::time::sleep(QUEUE_FULL_WAIT).await;
            }
            Err((reason, _)) => return Err(reason),
        }
    }
}

/// What Kafka says of a record. A report that never comes is that of a client which is gone.
pub(super) fn outcome(delivered: <DeliveryFuture as Future>::Output) -> Result<(), KafkaError> {
    match delivered {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((reason, _))) => Err(reason),
        Err(_) => Err(KafkaError::Canceled),
    }
}

/// The record as the client takes it.
fn future_record<'r>(topic: &'r str, record: &'r Outgoing) -> FutureRecord<'r, [u8], [u8]> {
    FutureRecord {
        topic,
        partition: None,
        payload: record.value.as_deref(),
        key: record.key.as_deref(),
        timestamp: None,
        headers: Some(record.headers.clone().into_inner()),
    }
}
