//! Where definitions live: the `[definitions]` section.

use serde::Deserialize;

/// Where definitions live.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The topic's name. Default "outhook.definitions".
    pub topic: String,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
}

impl Default for Config {
    fn default() -> Self {
        Self { topic: "outhook.definitions".to_owned(), replication_factor: None }
    }
}
