//! Where dead letters go: the `[dead_letters]` section.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// The topic for what will not be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The topic's name. Default "outhook.dead-letters".
    pub topic: String,
    /// How many partitions it is created with. Default 3.
    pub partitions: i32,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
    /// How long dead letters are kept, for a topic that is created. Default 30d.
    #[serde(deserialize_with = "days")]
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topic: "outhook.dead-letters".to_owned(),
            partitions: 3,
            replication_factor: None,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Config {
    /// # Errors
    /// A sentence that names the setting, its value and the mend.
    pub fn check(&self) -> Result<(), String> {
        if self.partitions < 1 {
            return Err(format!(
                "dead_letters.partitions is {}, but a topic has at least one: 3 is the default",
                self.partitions
            ));
        }
        if self.retention.is_zero() {
            return Err(
                "dead_letters.retention is 0s, so dead letters would be deleted unseen: 30d is the default".into()
            );
        }
        Ok(())
    }
}

/// Reads a duration that may be in days, each of 24 hours.
fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let span = Span::deserialize(deserializer)?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(D::Error::custom)?;
    Duration::try_from(duration).map_err(D::Error::custom)
}
