//! Level and format of log lines: the `[log]` section.

use serde::Deserialize;

/// Level and format of log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Lowest level that is logged: "error", "warn", "info", "debug" or "trace". With "debug" and higher levels,
    /// libraries log only from "warn". Default "info".
    pub level: LogLevel,
    /// Format of log lines on stderr: "text" for people, "json" for programs, or "auto" for text on a terminal and
    /// JSON elsewhere. Default "auto".
    pub format: LogFormat,
}

/// Level of a log line.
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

/// Format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Auto,
    Text,
    Json,
}
