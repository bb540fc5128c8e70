//! The message log: the `[message_log]` section.

use std::time::Duration;

use serde::Deserialize;

use crate::kafka::topic_reader::days;

/// A setting of this section is invalid. The text names it, its value and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageLogSettingsError {
    #[error("message_log.partitions is {0}, but a topic has at least one: 12 is the default")]
    NoPartitions(i32),
    #[error("message_log.retention is 0s, so entries would be deleted unread: 7d is the default")]
    NoRetention,
    #[error(
        "message_log.response_bytes is {0}, but an entry has at most {MAX_RESPONSE_BYTES} bytes of a response: 512 is \
         the default"
    )]
    ResponseBytes(usize),
}

/// The message log: a topic with the outcome of each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which attempts get an entry: all; failures, for failed attempts and the attempt that ends a call after
    /// failures; or off. Default all.
    pub level: MessageLogLevel,
    /// Name of the topic. Default "outhook.deliveries".
    pub topic: String,
    /// Number of partitions at creation. A search for a message reads one partition. Default 12.
    pub partitions: i32,
    /// Replication factor at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
    /// Retention of entries, set when the topic is created. Default 7d.
    #[serde(deserialize_with = "days")]
    pub retention: Duration,
    /// Max bytes of a response body in an entry; 0 is none. Default 512.
    pub response_bytes: usize,
}

/// Which attempts get an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageLogLevel {
    All,
    /// Failed attempts, and the attempt that ends a call after failures.
    Failures,
    Off,
}

/// Max value of `response_bytes`.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            level: MessageLogLevel::All,
            topic: "outhook.deliveries".to_owned(),
            partitions: 12,
            replication_factor: None,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            response_bytes: 512,
        }
    }
}

impl Config {
    /// # Errors
    /// A setting is invalid.
    pub fn check(&self) -> Result<(), MessageLogSettingsError> {
        let Self { partitions, retention, response_bytes, .. } = self;
        if *partitions < 1 {
            return Err(MessageLogSettingsError::NoPartitions(*partitions));
        }
        if retention.is_zero() {
            return Err(MessageLogSettingsError::NoRetention);
        }
        if *response_bytes > MAX_RESPONSE_BYTES {
            return Err(MessageLogSettingsError::ResponseBytes(*response_bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_rejected_with_the_fix() {
        assert_eq!(Config::default().check(), Ok(()));
        for (config, part) in [
            (Config { partitions: 0, ..Config::default() }, "message_log.partitions is 0"),
            (Config { retention: Duration::ZERO, ..Config::default() }, "message_log.retention is 0s"),
            (Config { response_bytes: 65_537, ..Config::default() }, "message_log.response_bytes is 65537"),
        ] {
            let refused = config.check().unwrap_err().to_string();
            assert!(refused.starts_with(part) && refused.contains("is the default"), "{refused}");
        }
    }
}
