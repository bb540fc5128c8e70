//! Topics of dead letters, waiting calls, row order and operator events: the `[dead_letters]`, `[retries]`,
//! `[overflow]`, `[row_order]` and `[operator_events]` sections.

use std::time::Duration;

use serde::Deserialize;

use super::Tiers;
use crate::deliver::durations;
use crate::kafka::topic_reader::days;

/// A setting of one of these sections is invalid. The text names it, its value and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicSettingsError {
    #[error("{key} is {partitions}, but a topic has at least one: {default} is the default")]
    NoPartitions { key: &'static str, partitions: i32, default: i32 },
    #[error("dead_letters.retention is 0s, so dead letters would be deleted unread: 30d is the default")]
    NoRetention,
    #[error("retries.tiers is empty, so calls could wait nowhere: remove it to use the default")]
    NoTiers,
    #[error("retries.tiers starts with {0:?}, but the first tier must be from 100ms to 1m")]
    FirstTier(Duration),
    #[error("retries.tiers has {0:?} before {1:?}, but each tier must be longer than the one before it")]
    TiersNotAscending(Duration, Duration),
    #[error("retries.tiers has {0:?}, but a tier must be whole milliseconds")]
    FractionalTier(Duration),
}

/// The dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLettersConfig {
    /// Name of the topic. Default "outhook.dead-letters".
    pub topic: String,
    /// Number of partitions at creation. Default 3.
    pub partitions: i32,
    /// Replication factor at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
    /// Retention of dead letters, set when the topic is created. Default 30d.
    #[serde(deserialize_with = "days")]
    pub retention: Duration,
}

impl Default for DeadLettersConfig {
    fn default() -> Self {
        Self {
            topic: "outhook.dead-letters".to_owned(),
            partitions: 3,
            replication_factor: None,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl DeadLettersConfig {
    /// # Errors
    /// A setting is invalid.
    pub fn check(&self) -> Result<(), TopicSettingsError> {
        check_partitions("dead_letters.partitions", self.partitions, 3)?;
        if self.retention.is_zero() { Err(TopicSettingsError::NoRetention) } else { Ok(()) }
    }
}

/// The retry topics, in which calls wait for their next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetriesConfig {
    /// Prefix of the names of the retry topics. With "outhook.retry" the topic of the tier 5m is outhook.retry.5m.
    /// Default "outhook.retry".
    pub topic: String,
    /// Delays of the retry topics, shortest first. A wait that is not one of these delays is spent in several topics.
    /// Default ["1s", "5s", "30s", "5m", "30m", "2h", "5h", "10h", "14h", "20h"].
    #[serde(deserialize_with = "durations")]
    pub tiers: Vec<Duration>,
    /// Number of partitions of each topic at creation, and so the max number of instances that read a topic. Default
    /// 4.
    pub partitions: i32,
    /// Replication factor of each topic at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
}

impl Default for RetriesConfig {
    fn default() -> Self {
        let tiers = [1, 5, 30, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000];
        Self {
            topic: "outhook.retry".to_owned(),
            tiers: tiers.map(Duration::from_secs).to_vec(),
            partitions: 4,
            replication_factor: None,
        }
    }
}

/// The overflow log, in which calls of saturated and failing endpoints wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverflowConfig {
    /// Name of the topic. Default "outhook.overflow".
    pub topic: String,
    /// Number of partitions at creation, and so the max number of instances that read the topic. Each partition has a
    /// share of the calls that CallThrottling allows. Default 16.
    pub partitions: i32,
    /// Replication factor at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
}

impl Default for OverflowConfig {
    fn default() -> Self {
        Self { topic: "outhook.overflow".to_owned(), partitions: 16, replication_factor: None }
    }
}

impl OverflowConfig {
    /// # Errors
    /// A setting is invalid.
    pub fn check(&self) -> Result<(), TopicSettingsError> {
        check_partitions("overflow.partitions", self.partitions, 16)
    }
}

/// The row-order topic, for the calls of webhooks with row order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowOrderConfig {
    /// Name of the topic. Default "outhook.row-order".
    pub topic: String,
    /// Number of partitions at creation, and so the max number of instances that read the topic. Changing it later
    /// breaks the order of rows for a while. Default 4.
    pub partitions: i32,
    /// Replication factor at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
}

impl Default for RowOrderConfig {
    fn default() -> Self {
        Self { topic: "outhook.row-order".to_owned(), partitions: 4, replication_factor: None }
    }
}

impl RowOrderConfig {
    /// # Errors
    /// A setting is invalid.
    pub fn check(&self) -> Result<(), TopicSettingsError> {
        check_partitions("row_order.partitions", self.partitions, 4)
    }
}

fn check_partitions(key: &'static str, partitions: i32, default: i32) -> Result<(), TopicSettingsError> {
    match partitions {
        1.. => Ok(()),
        _ => Err(TopicSettingsError::NoPartitions { key, partitions, default }),
    }
}

/// The operator events topic, for reports on endpoints. Outhook reads it like a source, as row changes of the table
/// outhook.endpoints in the account of the webhook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorEventsConfig {
    /// Name of the topic. Default "outhook.operator-events".
    pub topic: String,
    /// Replication factor at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
}

impl Default for OperatorEventsConfig {
    fn default() -> Self {
        Self { topic: "outhook.operator-events".to_owned(), replication_factor: None }
    }
}

/// Min delay of a retry topic. Shorter waits are better spent in memory.
const MIN_TIER: Duration = Duration::from_millis(100);
/// Max delay of the first tier: a call that finds no place at its endpoint waits at least this long.
const MAX_FIRST_TIER: Duration = Duration::from_secs(60);

impl RetriesConfig {
    /// The retry topics.
    pub fn tiers(&self) -> Tiers {
        Tiers::new(&self.topic, &self.tiers)
    }

    /// # Errors
    /// A setting is invalid.
    pub fn check(&self) -> Result<(), TopicSettingsError> {
        check_partitions("retries.partitions", self.partitions, 4)?;
        let first = *self.tiers.first().ok_or(TopicSettingsError::NoTiers)?;
        if !(MIN_TIER..=MAX_FIRST_TIER).contains(&first) {
            return Err(TopicSettingsError::FirstTier(first));
        }
        if let Some(pair) = self.tiers.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(TopicSettingsError::TiersNotAscending(pair[0], pair[1]));
        }
        match self.tiers.iter().find(|tier| tier.subsec_nanos() % 1_000_000 != 0) {
            Some(tier) => Err(TopicSettingsError::FractionalTier(*tier)),
            None => Ok(()),
        }
    }
}
