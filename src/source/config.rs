//! Settings of a source: a member of a consumer group.

use std::collections::HashMap;
use std::time::Duration;

use crate::lifecycle::Readiness;

/// Settings of a source: its topics, client and limits.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the source in metrics: `changes`, `retries` or `overflow`.
    pub name: &'static str,
    /// Settings of the Kafka client, complete except those that the source owns (commits, rebalancing).
    pub client: HashMap<String, String>,
    pub topics: Vec<Subscription>,
    /// A group that read these topics before this one. This group starts at that group's committed offsets.
    pub former_group: Option<String>,
    /// Interval between commits of settled offsets. After a crash, records settled since the last commit are read
    /// again.
    pub commit_interval: Duration,
    /// Max time that a stop or a revoked partition waits for calls under way.
    pub drain_deadline: Duration,
    /// Max records of one partition that are read and not yet in the settled prefix.
    pub max_open_records: usize,
    /// Max settled-but-uncommitted records with calls, per partition.
    pub max_uncommitted: u64,
    /// Shows the instance as not ready while a partition can't be read at its current offset.
    pub readiness: Readiness,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    List(Vec<String>),
    /// A regular expression that starts with `^`, as librdkafka requires.
    Regex(String),
}
