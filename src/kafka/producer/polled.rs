//! A producer for a topic of one partition. Its owner polls it for the outcomes of records.

use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use tracing::debug;

/// The only partition of the topic.
const PARTITION: i32 = 0;

/// `T` is kept about each record, and returned with its outcome.
pub struct PolledProducer<T: Send + Sync + 'static> {
    pub(super) producer: BaseProducer<Outcomes<T>>,
    topic: String,
}

/// Outcomes that have not been taken yet, in the order in which the client reports them: the offset of a written
/// record, or why it is not written.
pub(super) struct Outcomes<T> {
    outcomes: Mutex<Vec<(T, KafkaResult<i64>)>>,
    /// Logs lines of the client only for debugging.
    is_quiet: bool,
}

impl<T: Send + Sync + 'static> PolledProducer<T> {
    /// `settings` are based on [`super::settings`].
    ///
    /// # Errors
    /// The client library refuses the settings.
    pub fn new(topic: &str, settings: &ClientConfig) -> Result<Self, KafkaError> {
        Self::create(topic, settings, false)
    }

    pub(super) fn create(topic: &str, settings: &ClientConfig, is_quiet: bool) -> Result<Self, KafkaError> {
        let outcomes = Outcomes { outcomes: Mutex::default(), is_quiet };
        Ok(Self { producer: settings.create_with_context(outcomes)?, topic: topic.to_owned() })
    }

    /// Queues a record. Never waits. [`PolledProducer::outcomes`] returns its outcome later.
    pub fn send(&self, key: &[u8], value: Option<&[u8]>, opaque: T) {
        if let Err((error, opaque)) = self.try_to_send(key, value, opaque) {
            self.producer.context().add(opaque, Err(error));
        }
    }

    /// Queues a record, unless the client refuses it.
    pub(super) fn try_to_send(&self, key: &[u8], value: Option<&[u8]>, opaque: T) -> Result<(), (KafkaError, T)> {
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(opaque)).partition(PARTITION).key(key);
        record.payload = value;
        self.producer.send(record).map_err(|(error, back)| (error, *back.delivery_opaque))
    }

    /// Returns the outcomes since the last call. Waits up to `wait` for more.
    pub fn outcomes(&self, wait: Duration) -> Vec<(T, KafkaResult<i64>)> {
        self.producer.poll(wait);
        std::mem::take(&mut self.producer.context().outcomes.lock())
    }

    /// Whether every record has its outcome, and all outcomes have been taken.
    pub fn is_idle(&self) -> bool {
        self.producer.in_flight_count() == 0 && self.producer.context().outcomes.lock().is_empty()
    }
}

impl<T> Outcomes<T> {
    fn add(&self, opaque: T, outcome: KafkaResult<i64>) {
        self.outcomes.lock().push((opaque, outcome));
    }
}

impl<T: Send + Sync> ClientContext for Outcomes<T> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let level = if self.is_quiet { RDKafkaLogLevel::Debug } else { level };
        rdkafka::client::DefaultClientContext.log(level, facility, text);
    }

    // Every error that matters is in the outcome of a record.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!("a polled producer: {error}: {reason}");
    }
}

impl<T: Send + Sync> ProducerContext for Outcomes<T> {
    type DeliveryOpaque = Box<T>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Box<T>) {
        let outcome = result.as_ref().map(|record| record.offset()).map_err(|(error, _)| error.clone());
        self.add(*opaque, outcome);
    }
}
