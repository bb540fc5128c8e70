//! Where definitions live: the `[definitions]` section.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

use crate::definition::Keyring;

/// Where definitions live.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The topic's name. Default "outhook.definitions".
    pub topic: String,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
    /// The most webhooks of an account. Default 100000.
    pub max_webhooks: usize,
    /// The most events of a webhook. Default 10000.
    pub max_events: usize,
    /// How long the topic may be restored from a copy that is older than a call that waits: while its end has not been the same for so long, calls wait whose definitions it lacks; then they become dead letters. Default 10m.
    #[serde(with = "duration::required")]
    pub restored_within: Duration,
    /// Keys that seal webhooks' secrets in the topic, each the base64 of 32 bytes (`openssl rand -base64 32`). The first seals, all of them open, so a new key goes first. Default: none, and secrets stand there as they are.
    pub secret_keys: Keyring,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topic: "outhook.definitions".to_owned(),
            replication_factor: None,
            max_webhooks: 100_000,
            max_events: 10_000,
            restored_within: Duration::from_secs(600),
            secret_keys: Keyring::default(),
        }
    }
}
