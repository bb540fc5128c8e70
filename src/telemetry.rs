//! Logs and metrics of an instance.

mod config;
mod logs;
mod metrics;
mod process;
mod repeat_filter;

pub use self::config::{Config, LogFormat, LogLevel};
pub use self::logs::start as start_logs;
pub use self::metrics::{Metrics, MetricsError, describe_metrics};
pub use crate::telemetry::repeat_filter::RepeatFilter;
