//! Metrics in the text format of Prometheus.

use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;

/// Bucket bounds of all `…_seconds` histograms, by factors of about 2.5. They range from a call on the loopback to a
/// retry after hours of a record that waited in Kafka.
const HISTOGRAM_BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// Interval at which pending samples of histograms are moved to buckets, so they do not accumulate if metrics are not
/// scraped.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The metrics of all parts.
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
    /// Metrics were started before in this process.
    pub fn start() -> Result<Self, MetricsError> {
        let buckets = Matcher::Suffix("_seconds".to_owned());
        let handle =
            PrometheusBuilder::new().set_buckets_for_metric(buckets, &HISTOGRAM_BUCKETS)?.install_recorder()?;
        describe_metrics();
        gauge!("outhook_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
            loop {
                tick.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { handle })
    }

    /// Renders all metrics. The process metrics are measured now.
    pub fn render(&self) -> String {
        let counter = process::measure();
        self.handle.render() + &counter
    }
}

/// Registers the process metrics with their units and descriptions.
pub fn describe_metrics() {
    describe_gauge!("outhook_build_info", Unit::Count, "Always 1; the label is the running version");
    process::describe_metrics();
}
