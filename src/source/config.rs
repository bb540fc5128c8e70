//! What the consumer group needs to know.

use std::collections::HashMap;
use std::time::Duration;

use crate::lifecycle::Readiness;

/// Which topics are read, as whom, and how a stop behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is read, for metrics: `changes` or `retries`.
    pub name: &'static str,
    /// Settings of the Kafka client, complete but for what the source owns (commits, rebalancing).
    pub client: HashMap<String, String>,
    pub topics: Vec<Subscription>,
    /// A group that read these topics before this one did. Where it left off, this one begins.
    pub former_group: Option<String>,
    /// How often settled offsets are committed. After a crash, what was settled since then comes again.
    pub commit_interval: Duration,
    /// How long a stop, or a partition that is taken away, waits for what is under way.
    pub drain_deadline: Duration,
    /// Records of one partition that may be read and not yet part of the settled prefix.
    pub max_open_records: usize,
    /// Records of one partition with calls that may have settled without the group knowing it.
    pub max_uncommitted: u64,
    /// Told while a partition can't be read where it stands.
    pub readiness: Readiness,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    List(Vec<String>),
    /// A regular expression that starts with `^`, as librdkafka has it.
    Regex(String),
}
