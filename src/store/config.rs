//! The definitions topic and limits of definitions: the `[definitions]` section.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

use crate::definition::rules::{DefinitionLimits, UnknownTablePolicy};
use crate::definition::{Keyring, Usage};

/// The definitions topic and limits of definitions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the topic. Default "outhook.definitions".
    pub topic: String,
    /// Replication factor at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
    /// Max webhooks per account. Default 100000.
    pub max_webhooks: usize,
    /// Max events per webhook. Default 10000.
    pub max_events: usize,
    /// Max events per account. Default 200000.
    pub max_account_events: usize,
    /// Max bytes of names, URLs, templates and other texts in the webhooks and events of an account. Each instance
    /// keeps them compiled, in up to four times as much memory. Default 33554432 (32 MiB).
    pub max_account_bytes: usize,
    /// Max changes of definitions per second that an account may make over REST at one instance, averaged over ten
    /// seconds. Further changes get the response 429. Default 100.
    pub max_account_writes: NonZeroU32,
    /// Handling of an event on a table that no file of `outhook apply` declares: "accept" or "refuse". Default
    /// "accept".
    pub unknown_tables: UnknownTablePolicy,
    /// Max time for restoring the topic from a copy that is older than a waiting call. Calls whose definitions are
    /// missing wait until the end of the topic has not moved for this time. Then they are dead-lettered. Default 10m.
    #[serde(with = "duration::required")]
    pub restored_within: Duration,
    /// Keys that encrypt the secrets of webhooks in the topic, each the base64 of 32 bytes (`openssl rand -base64
    /// 32`). The first key encrypts, and all keys decrypt, so put a new key first. Default: none; secrets are stored
    /// unencrypted.
    pub secret_keys: Keyring,
}

impl Config {
    pub fn limits(&self) -> DefinitionLimits {
        let Self { max_webhooks: webhooks, max_account_events: events, max_account_bytes: bytes, .. } = *self;
        let per_account = Usage { webhooks, events, bytes };
        DefinitionLimits { per_account, events_per_webhook: self.max_events, ..DefinitionLimits::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        let limits = DefinitionLimits::default();
        Self {
            topic: "outhook.definitions".to_owned(),
            replication_factor: None,
            max_webhooks: limits.per_account.webhooks,
            max_events: limits.events_per_webhook,
            max_account_events: limits.per_account.events,
            max_account_bytes: limits.per_account.bytes,
            max_account_writes: NonZeroU32::new(100).expect("not zero"),
            unknown_tables: UnknownTablePolicy::default(),
            restored_within: Duration::from_secs(600),
            secret_keys: Keyring::default(),
        }
    }
}
