//! What is told each second, and at the end.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::latency::Latencies;
use super::oracle::Tally;

/// The state of a run; serialized as one flat JSON object.
#[derive(Debug, Clone, Serialize)]
pub struct DevReport {
    /// Seconds since the first sample change was due.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Sample changes made so far.
    pub changes: u64,
    /// Since the last report; in a summary over the whole run.
    pub changes_per_second: u64,
    /// Messages received, since the last report; in a summary over the whole run.
    pub messages_per_second: u64,
    #[serde(flatten)]
    pub tally: Tally,
    /// Calls that were not answered with 2xx, each try counted.
    pub failed_attempts: u64,
    /// Messages that are expected and have not come yet.
    pub outstanding: usize,
    /// From the change to its receipt, in milliseconds: of the messages since the last report, or of all in
    /// a summary.
    #[serde(rename = "latency_ms")]
    pub latency: Percentiles,
}

/// Percentiles of a latency; None when there was no message.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Percentiles {
    #[serde(serialize_with = "milliseconds")]
    pub p50: Option<Duration>,
    #[serde(serialize_with = "milliseconds")]
    pub p95: Option<Duration>,
    #[serde(serialize_with = "milliseconds")]
    pub p99: Option<Duration>,
}

impl From<&Latencies> for Percentiles {
    fn from(latencies: &Latencies) -> Self {
        let [p50, p95, p99] = [0.50, 0.95, 0.99].map(|part| latencies.percentile(part));
        Self { p50, p95, p99 }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Nothing was lost, doubled, badly signed or uncalled for, and what should have been delivered was.
    pub ok: bool,
    /// Whether everything that was under way ended before the deadline.
    pub drained: bool,
    #[serde(flatten)]
    pub report: DevReport,
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_millis() as f64 / 1e3)
}

fn milliseconds<S: Serializer>(latency: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match latency {
        Some(latency) => serializer.serialize_some(&(latency.as_micros() as f64 / 1e3)),
        None => serializer.serialize_none(),
    }
}
