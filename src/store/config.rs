//! Where definitions live: the `[definitions]` section.

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
            secret_keys: Keyring::default(),
        }
    }
}
