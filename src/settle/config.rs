//! Where dead letters go: the `[dead_letters]` section.

use serde::Deserialize;

/// Where dead letters go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The topic for what will not be tried again. Default "outhook.dead-letters".
    pub topic: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { topic: "outhook.dead-letters".to_owned() }
    }
}

impl Config {
    /// # Errors
    /// The topic has no name that Kafka takes.
    pub fn check(&self) -> Result<(), String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let topic = &self.topic;
        if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(legal) || matches!(&**topic, "." | "..") {
            return Err(format!(
                "dead_letters.topic is {topic:?}, which is no topic's name: use 1 to 249 characters of a-z, A-Z, 0-9, \
                 dot, underscore and hyphen"
            ));
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
            let error = Config { topic: topic.to_owned() }.check().unwrap_err();
            assert!(error.contains(&format!("{topic:?}")), "{error}");
        }
    }
}
