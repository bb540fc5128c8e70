//! Writes counts, tables, endpoint reports and retry orders to the topic, and returns the outcome of each record.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::record::Count;
use crate::catalogue::TableWrite;
use crate::endpoints::{self, RetryOrder};

/// The only partition of the topic.
const PARTITION: i32 = 0;

/// Max time to write one record, in ms. Then its write has failed, and the value of that time is written again.
const WRITE_TIMEOUT_MS: &str = "10000";

/// Content of a record.
pub(super) enum StatsRecord {
    Count(Count),
    Table(TableWrite),
    Report(endpoints::Unwritten),
    Order(RetryOrder),
}

/// A record and the result of its write.
pub(super) type Outcome = (StatsRecord, KafkaResult<()>);

pub(super) struct StatsWriter {
    producer: BaseProducer<Outcomes>,
    topic: String,
}

impl StatsWriter {
    pub fn new(topic: &str, kafka: &HashMap<String, String>) -> KafkaResult<Self> {
        let producer = Self::settings(kafka).create_with_context(Outcomes::default())?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    pub fn settings(kafka: &HashMap<String, String>) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.extend(kafka.clone());
        client
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("message.timeout.ms", WRITE_TIMEOUT_MS);
        client
    }

    /// Queues a record. [`StatsWriter::outcomes`] returns its outcome later.
    pub fn send(&self, written: StatsRecord) {
        let (key, value) = match &written {
            StatsRecord::Count(count) => (count.key(), count.value()),
            StatsRecord::Table(table) => (table.key.clone(), table.value.clone()),
            StatsRecord::Report(report) => (report.key.clone(), report.value.clone()),
            StatsRecord::Order(order) => {
                let endpoints::Unwritten { key, value } = order.record();
                (key, value)
            }
        };
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(written)).partition(PARTITION);
        if let Err((error, refused)) = self.producer.send(record.key(&key).payload(&value)) {
            self.producer.context().add((*refused.delivery_opaque, Err(error)));
        }
    }

    /// Returns the outcomes since the last call. Waits up to `wait` for more.
    pub fn outcomes(&self, wait: Duration) -> Vec<Outcome> {
        self.producer.poll(wait);
        self.producer.context().take()
    }

    /// Whether every record has its outcome, and all outcomes have been taken.
    pub fn is_idle(&self) -> bool {
        self.producer.in_flight_count() == 0 && self.producer.context().is_empty()
    }
}

/// Outcomes that have not been taken yet.
#[derive(Default)]
struct Outcomes(Mutex<Vec<Outcome>>);

impl Outcomes {
    fn add(&self, outcome: Outcome) {
        self.0.lock().push(outcome);
    }

    fn take(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.0.lock())
    }

    fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl ClientContext for Outcomes {
    // Every error that matters is in the outcome of a record.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("stats producer: {error}: {reason}");
    }
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<StatsRecord>;

    fn delivery(&self, result: &DeliveryResult<'_>, written: Box<StatsRecord>) {
        let result = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
        self.add((*written, result));
    }
}
