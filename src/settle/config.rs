//! Where dead letters go: the `[dead_letters]` section.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::Deserialize;

/// Where dead letters go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The topic for what will not be tried again. Default "outhook.dead-letters".
    pub topic: String,
    /// How many partitions the topic is created with. Default 3.
    pub partitions: i32,
    /// How many replicas the topic is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
    /// How long the topic keeps dead letters, if it is created. Default 30d.
    #[serde(with = "duration")]
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
    /// The topic has no name that Kafka takes, or would keep nothing.
    pub fn check(&self) -> Result<(), String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let topic = &self.topic;
        if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(legal) || matches!(&**topic, "." | "..") {
            return Err(format!(
                "dead_letters.topic is {topic:?}, which is no topic's name: use 1 to 249 characters of a-z, A-Z, 0-9, \
                 dot, underscore and hyphen"
            ));
        }
        if self.partitions < 1 {
            return Err(format!("dead_letters.partitions is {}, but a topic has at least one", self.partitions));
        }
        if self.retention.is_zero() {
            return Err("dead_letters.retention is 0s, so dead letters would be deleted unseen".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kafka_takes_as_a_name_passes() {
        assert_eq!(Config::default().check(), Ok(()));
        for topic in ["", ".", "..", "dead letters", "tote-briefe-ä", &"x".repeat(250)] {
            let error = Config { topic: topic.to_owned(), ..Config::default() }.check().unwrap_err();
            assert!(error.contains(&format!("{topic:?}")), "{error}");
        }
    }
}
