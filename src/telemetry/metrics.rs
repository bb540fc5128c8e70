//! Metrics in Prometheus' text format.

use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;

/// Bounds of the buckets of every `…_seconds` histogram: from a call on the loopback to a retry after hours
/// of a record that lay in Kafka, about 2.5 apart.
const SECONDS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// How often samples that wait in histograms are put into their buckets when nobody asks for metrics, so
/// that they don't pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Everything that the parts count and measure.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Metrics can't be started.
#[derive(Debug, thiserror::Error)]
#[error("can't start metrics: {0}")]
pub struct MetricsError(#[from] BuildError);

impl Metrics {
    /// Starts metrics for the whole process. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// They were started before in this process.
    pub fn start() -> Result<Self, MetricsError> {
        let buckets = Matcher::Suffix("_seconds".to_owned());
        let handle = PrometheusBuilder::new().set_buckets_for_metric(buckets, &SECONDS)?.install_recorder()?;
        describe_metrics();
        gauge!("outhook_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP);
            loop {
                tick.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { handle })
    }

    /// All metrics, with the process' own measured now.
    pub fn render(&self) -> String {
        let counter = process::measure();
        self.handle.render() + &counter
    }
}

/// Registers the process' own metrics with their units and descriptions.
pub fn describe_metrics() {
    describe_gauge!("outhook_build_info", Unit::Count, "Always 1; its label is the version that runs");
    process::describe_metrics();
}
