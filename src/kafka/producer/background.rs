//! A producer for records that may be lost: nothing waits for them, and only failures are reported.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Partitioner, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tracing::debug;

use crate::kafka::topic_reader::partition_of;

/// Converts a record's key to the number of which [`partition_of`] chooses its partition.
pub type KeyNumber = fn(&[u8]) -> u128;

/// Called for each record that is not written, with the reason. It must not wait.
pub type Lost = Box<dyn Fn(&KafkaError) + Send + Sync>;

pub struct BackgroundProducer {
    producer: ThreadedProducer<Losses, ByKey>,
    topic: String,
}

struct Losses {
    lost: Lost,
    partitioner: ByKey,
}

struct ByKey(KeyNumber);

impl BackgroundProducer {
    /// `settings` are based on [`super::settings`].
    ///
    /// # Errors
    /// The client library refuses the settings.
    pub fn new(topic: &str, settings: &ClientConfig, key_number: KeyNumber, lost: Lost) -> Result<Self, KafkaError> {
        let producer = settings.create_with_context(Losses { lost, partitioner: ByKey(key_number) })?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Queues a record. Never waits.
    pub fn send(&self, key: &[u8], value: &[u8], timestamp_ms: i64) {
        let record = BaseRecord::to(&self.topic).key(key).payload(value).timestamp(timestamp_ms);
        if let Err((reason, _)) = self.producer.send(record) {
            (self.producer.client().context().lost)(&reason);
        }
    }

    /// Number of records that are not written yet.
    pub fn queued(&self) -> i32 {
        self.producer.in_flight_count()
    }

    /// Waits until all queued records are written. Blocks.
    ///
    /// # Errors
    /// Not all are written within this time.
    pub fn flush(&self, within: Duration) -> Result<(), KafkaError> {
        self.producer.flush(within)
    }
}

impl ClientContext for Losses {
    // Only debug: an error that matters is reported with a lost record.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!("a producer in the background: {error}: {reason}");
    }
}

impl ProducerContext<ByKey> for Losses {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((reason, _)) = result {
            (self.lost)(reason);
        }
    }

    fn get_custom_partitioner(&self) -> Option<&ByKey> {
        Some(&self.partitioner)
    }
}

impl Partitioner for ByKey {
    fn partition(&self, _: &str, key: Option<&[u8]>, partitions: i32, _: impl Fn(i32) -> bool) -> i32 {
        let number = (self.0)(key.unwrap_or_default());
        i32::try_from(partition_of(number, usize::try_from(partitions).unwrap_or(1))).unwrap_or(0)
    }
}
