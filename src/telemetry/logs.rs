//! Log lines on stderr.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::{Config, LogFormat, LogLevel};

/// Starts logging. `terminal` is whether stderr is a terminal, `colours` whether it may be coloured.
///
/// # Errors
/// Logging was started before in this process.
pub fn start(config: &Config, terminal: bool, colours: bool) -> Result<(), TryInitError> {
    let registry = tracing_subscriber::registry().with(filter(config.level));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.format {
        LogFormat::Auto if terminal => registry.with(layer.with_ansi(colours)).try_init(),
        LogFormat::Text => registry.with(layer.with_ansi(colours)).try_init(),
        LogFormat::Json | LogFormat::Auto => registry.with(layer.json().flatten_event(true)).try_init(),
    }
}

/// Filters Outhook's lines by the configured level, and lines of libraries from `warn` up, because their `info` is
/// about themselves and their `debug` may show the data that they transfer. At the level `trace` libraries log from
/// `debug`.
fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let libraries = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug => LevelFilter::WARN,
        LogLevel::Trace => LevelFilter::DEBUG,
    };
    Targets::new().with_default(libraries).with_target("outhook", own)
}
