//! The report of each second, and the summary.

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
    /// Changes per second since the last report; in a summary, over the whole run.
    pub changes_per_second: u64,
    /// Messages received per second since the last report; in a summary, over the whole run.
    pub messages_per_second: u64,
    #[serde(flatten)]
    pub tally: Tally,
    /// Attempts without a 2xx response.
    pub failed_attempts: u64,
    /// Expected messages that have not arrived yet.
    pub outstanding: usize,
    /// Milliseconds from a change to the receipt of its message: of messages since the last report, or of all in a
    /// summary.
    #[serde(rename = "latency_ms")]
    pub latency: Percentiles,
}

/// Percentiles of a latency. None without messages.
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

/// Result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Whether nothing was lost, duplicate, badly signed or unexpected, and something was delivered if it had to be.
    pub ok: bool,
    /// Whether the instance settled and committed everything before it stopped.
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
