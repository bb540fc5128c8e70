//! Where definitions live: the `[definitions]` section.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

use crate::definition::rules::{DefinitionLimits, UnknownTables};
use crate::definition::{Keyring, Usage};

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
    /// The most events of an account. Default 200000.
    pub max_account_events: usize,
    /// The most bytes of names, URLs, templates and other texts in an account's webhooks and events. Compiled for sending, each instance holds them in up to four times as much memory. Default 33554432 (32 MiB).
    pub max_account_bytes: usize,
    /// The most changes of definitions that an account may make each second at an instance over REST, in the mean of ten seconds. More are answered with 429. Default 100.
    pub max_account_writes: NonZeroU32,
    /// What is done with an event on a table that no file of `outhook apply` declares: "accept" or "refuse". Default "accept".
    pub unknown_tables: UnknownTables,
    /// How long the topic may be restored from a copy that is older than a call that waits: while its end has not been the same for so long, calls wait whose definitions it lacks; then they become dead letters. Default 10m.
    #[serde(with = "duration::required")]
    pub restored_within: Duration,
    /// Keys that seal webhooks' secrets in the topic, each the base64 of 32 bytes (`openssl rand -base64 32`). The first seals, all of them open, so a new key goes first. Default: none, and secrets stand there as they are.
    pub secret_keys: Keyring,
}

impl Config {
    pub fn limits(&self) -> DefinitionLimits {
        let Self { max_webhooks: webhooks, max_account_events: events, max_account_bytes: bytes, .. } = *self;
        let of_account = Usage { webhooks, events, bytes };
        DefinitionLimits { of_account, events_of_webhook: self.max_events, ..DefinitionLimits::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        let limits = DefinitionLimits::default();
        Self {
            topic: "outhook.definitions".to_owned(),
            replication_factor: None,
            max_webhooks: limits.of_account.webhooks,
            max_events: limits.events_of_webhook,
            max_account_events: limits.of_account.events,
            max_account_bytes: limits.of_account.bytes,
            max_account_writes: NonZeroU32::new(100).expect("not zero"),
            unknown_tables: UnknownTables::default(),
            restored_within: Duration::from_secs(600),
            secret_keys: Keyring::default(),
        }
    }
}
