//! The stats topic: the `[stats]` section.

use serde::Deserialize;

/// The stats topic, for counts and for the tables and fields that were seen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the topic. Default "outhook.stats".
    pub topic: String,
    /// Replication factor at creation. Default: the broker's default.replication.factor.
    pub replication_factor: Option<i32>,
}

impl Default for Config {
    fn default() -> Self {
        Self { topic: "outhook.stats".to_owned(), replication_factor: None }
    }
}
