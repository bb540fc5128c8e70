//! Where counts are kept: the `[stats]` section.

use serde::Deserialize;

/// The topic for what is counted, and for the tables and fields that were seen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The topic's name. Default "outhook.stats".
    pub topic: String,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
}

impl Default for Config {
    fn default() -> Self {
        Self { topic: "outhook.stats".to_owned(), replication_factor: None }
    }
}
