//! Writes counts, tables, endpoint reports and retry orders to the topic, and returns the outcome of each record.

use std::collections::HashMap;
use std::time::Duration;

use super::record::HourCount;
use crate::catalogue::TableWrite;
use crate::endpoints::{self, RetryOrder};
use crate::kafka::producer::{self, PolledProducer};
use crate::kafka::{ClientConfig, KafkaError};

/// Max time to write one record, in ms. Then its write has failed, and the value of that time is written again.
const WRITE_TIMEOUT_MS: &str = "10000";

/// Content of a record.
pub(super) enum StatsRecord {
    Count(HourCount),
    Table(TableWrite),
    Report(endpoints::StatsTopicRecord),
    Order(RetryOrder),
}

pub(super) struct StatsWriter(PolledProducer<StatsRecord>);

impl StatsWriter {
    pub fn new(topic: &str, kafka: &HashMap<String, String>) -> Result<Self, KafkaError> {
        PolledProducer::new(topic, &Self::settings(kafka)).map(Self)
    }

    pub fn settings(kafka: &HashMap<String, String>) -> ClientConfig {
        producer::settings(&kafka.clone().into_iter().collect(), WRITE_TIMEOUT_MS)
    }

    /// Queues a record. [`StatsWriter::take_outcomes`] returns its outcome later.
    pub fn send(&self, written: StatsRecord) {
        let (key, value) = match &written {
            StatsRecord::Count(count) => (count.key(), count.value()),
            StatsRecord::Table(table) => (table.key.clone(), table.value.clone()),
            StatsRecord::Report(report) => (report.key.clone(), report.value.clone()),
            StatsRecord::Order(order) => {
                let endpoints::StatsTopicRecord { key, value } = order.record();
                (key, value)
            }
        };
        self.0.send(key.as_bytes(), Some(value.as_bytes()), written);
    }

    /// Returns the outcomes since the last call, each with its record. Waits up to `wait` for more.
    pub fn take_outcomes(&self, wait: Duration) -> impl Iterator<Item = (StatsRecord, Result<(), KafkaError>)> + use<> {
        let outcomes = self.0.outcomes(wait).into_iter();
        outcomes.map(|(written, outcome)| (written, outcome.map(drop)))
    }

    /// Whether every record has its outcome, and all outcomes have been taken.
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }
}
