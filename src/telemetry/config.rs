//! What is logged, and how: the `[log]` section.

use serde::Deserialize;

/// What is logged, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The least important lines that are written: "error", "warn", "info", "debug" or "trace". Libraries stay at "warn" up to "debug". Default "info".
    pub level: LogLevel,
    /// How lines are written to stderr: "text" for people, "json" for programs, or "auto": text on a terminal, JSON elsewhere. Default "auto".
    pub format: LogFormat,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Auto,
    Text,
    Json,
}
