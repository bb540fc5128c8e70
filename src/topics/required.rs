//! Required settings of Outhook's own topics.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::Config;
use crate::kafka::admin::{NewTopic, new_topic};
use crate::message_log::{self, MessageLogLevel};
use crate::settle::MAX_RECORD_BYTES;
use crate::stats;

/// A topic that Outhook needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredTopic {
    pub name: String,
    /// The configuration key of its name.
    pub key: &'static str,
    /// Number of partitions at creation.
    pub partitions: i32,
    /// Replication factor at creation. None is the broker's default.
    pub replication_factor: Option<i32>,
    /// Settings at creation.
    pub settings: Vec<(&'static str, String)>,
    rule: TopicRule,
}

/// What is checked on an existing topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TopicRule {
    /// One partition, because definitions have an order. Compacted, because the last definition stays valid forever.
    Log,
    /// Not compacted, so all records with the same key, or without a key, are kept.
    NotCompacted,
    /// Not compacted, and with room for every call, because a call that does not fit is dead-lettered.
    Retries { delay: Duration },
    /// One partition and compacted. Every instance reads it from its beginning at a start, and only the last record
    /// of each count matters.
    Counts,
}

/// Result of the check of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicStatus {
    Missing,
    Correct { found: String },
    Wrong(WrongTopic),
}

/// A topic with a setting that prevents its use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic} ({key}) has {found}, but needs {needed}: {why}")]
pub struct WrongTopic {
    pub topic: String,
    pub key: &'static str,
    pub found: String,
    pub needed: String,
    pub why: &'static str,
    /// The fix, with the command if there is one.
    pub fix: String,
}

/// The topics that a configuration needs.
pub fn required_topics(config: &Config) -> Vec<RequiredTopic> {
    let (definitions, letters, stats) = (&config.definitions, &config.dead_letters, &config.stats);
    let mut required = vec![
        RequiredTopic {
            name: definitions.topic.clone(),
            key: "definitions.topic",
            partitions: 1,
            replication_factor: definitions.replication_factor,
            settings: vec![("cleanup.policy", "compact".to_owned())],
            rule: TopicRule::Log,
        },
        RequiredTopic {
            name: letters.topic.clone(),
            key: "dead_letters.topic",
            partitions: letters.partitions,
            replication_factor: letters.replication_factor,
            settings: vec![
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", letters.retention.as_millis().to_string()),
                ("max.message.bytes", MAX_RECORD_BYTES.to_string()),
            ],
            rule: TopicRule::NotCompacted,
        },
        RequiredTopic {
            name: stats.topic.clone(),
            key: "stats.topic",
            partitions: 1,
            replication_factor: stats.replication_factor,
            settings: vec![
                ("cleanup.policy", "compact,delete".to_owned()),
                ("retention.ms", stats::RETENTION.as_millis().to_string()),
                ("segment.bytes", stats::SEGMENT_BYTES.to_string()),
            ],
            rule: TopicRule::Counts,
        },
    ];
    required.extend(message_log(&config.message_log));
    let operator = &config.operator_events;
    required.push(RequiredTopic {
        name: operator.topic.clone(),
        key: "operator_events.topic",
        partitions: 1,
        replication_factor: operator.replication_factor,
        settings: vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", RETRY_TOPIC_RETENTION.as_millis().to_string()),
        ],
        rule: TopicRule::NotCompacted,
    });
    let tiers = config.retries.tiers();
    required.extend(tiers.iter().map(|tier| RequiredTopic {
        partitions: config.retries.partitions,
        replication_factor: config.retries.replication_factor,
        ..calls_topic(&tier.topic, "retries.topic", tier.delay)
    }));
    let longest_wait = tiers.iter().map(|tier| tier.delay).max().unwrap_or_default();
    required.push(RequiredTopic {
        partitions: config.overflow.partitions,
        replication_factor: config.overflow.replication_factor,
        ..calls_topic(&config.overflow.topic, "overflow.topic", longest_wait)
    });
    required.push(RequiredTopic {
        partitions: config.row_order.partitions,
        replication_factor: config.row_order.replication_factor,
        ..calls_topic(&config.row_order.topic, "row_order.topic", Duration::ZERO)
    });
    required
}

/// A topic of calls that wait for `delay`.
fn calls_topic(name: &str, key: &'static str, delay: Duration) -> RequiredTopic {
    RequiredTopic {
        name: name.to_owned(),
        key,
        partitions: 1,
        replication_factor: None,
        settings: vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", (delay * 2 + RETRY_TOPIC_RETENTION).as_millis().to_string()),
            ("max.message.bytes", MAX_RECORD_BYTES.to_string()),
        ],
        rule: TopicRule::Retries { delay },
    }
}

/// The topic of the message log, or None if the log is off.
fn message_log(config: &message_log::Config) -> Option<RequiredTopic> {
    (config.level != MessageLogLevel::Off).then(|| RequiredTopic {
        name: config.topic.clone(),
        key: "message_log.topic",
        partitions: config.partitions,
        replication_factor: config.replication_factor,
        settings: vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", config.retention.as_millis().to_string()),
        ],
        rule: TopicRule::NotCompacted,
    })
}

/// Retention of a retry topic beyond the delay of its records: max time for which all instances may be down.
const RETRY_TOPIC_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl RequiredTopic {
    /// The configuration key of its number of partitions, in the section of the key of its name.
    fn partitions_key(&self) -> String {
        format!("{}.partitions", self.key.trim_end_matches(".topic"))
    }

    /// The request that creates it.
    pub fn request(&self) -> NewTopic<'_> {
        new_topic(&self.name, self.partitions, self.replication_factor, &self.settings)
    }

    /// Checks an existing topic against the requirements. `brokers` is for the command that fixes it.
    pub fn check_settings(&self, partitions: usize, settings: &BTreeMap<String, String>, brokers: &str) -> TopicStatus {
        let policy = settings.get("cleanup.policy").map_or("unknown", String::as_str);
        let compacts = policy.split(',').any(|part| part.trim() == "compact");
        let wrong = |found: String, needed: &str, why, fix| {
            let needed = needed.to_owned();
            TopicStatus::Wrong(WrongTopic { topic: self.name.clone(), key: self.key, found, needed, why, fix })
        };
        let set = |setting: &str| {
            format!(
                "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {} \
                 --add-config {setting}",
                self.name
            )
        };
        let set_policy = |policy: &str| set(&format!("cleanup.policy={policy}"));
        // A retention of -1 is unlimited and is not parsed as a number here.
        let number = |name: &str| settings.get(name)?.parse::<u64>().ok();
        let (policy_found, key) = (format!("cleanup.policy = {policy}"), self.partitions_key());
        match self.rule {
            TopicRule::Log | TopicRule::Counts if partitions != 1 => wrong(
                format!("{partitions} partitions"),
                "exactly 1",
                "every instance reads all of it, in one order",
                format!("the partitions of a topic can't be reduced, so set {} to another topic", self.key),
            ),
            TopicRule::Log if policy != "compact" => {
                let why = "old definitions would be deleted";
                wrong(policy_found, "cleanup.policy = compact", why, set_policy("compact"))
            }
            TopicRule::Counts if !compacts => {
                let why = "it would grow with every record, and every instance reads all of it at its start";
                wrong(policy_found, "cleanup.policy = compact,delete", why, set_policy("[compact,delete]"))
            }
            // Instances with different numbers of partitions would divide CallThrottling's slots wrongly.
            TopicRule::Retries { .. } if partitions != self.partitions as usize => wrong(
                count_text(partitions, "partition"),
                &format!("the number in {key}"),
                "each partition has a share of the calls that CallThrottling allows",
                format!("set {key} = {partitions} on all instances, or set {} to another name", self.key),
            ),
            TopicRule::Retries { .. }
                if number("max.message.bytes").is_some_and(|max_bytes| max_bytes < MAX_RECORD_BYTES as u64) =>
            {
                wrong(
                    format!("max.message.bytes = {}", settings["max.message.bytes"]),
                    "room for the largest message",
                    "a call that is too large for it is dead-lettered",
                    set(&format!("max.message.bytes={MAX_RECORD_BYTES}")),
                )
            }
            TopicRule::Retries { delay }
                if number("retention.ms").is_some_and(|retention| u128::from(retention) < delay.as_millis() * 2) =>
            {
                wrong(
                    format!("retention.ms = {}", settings["retention.ms"]),
                    "at least twice its delay",
                    "waiting calls would be deleted unsent",
                    set(&format!("retention.ms={}", (delay * 2 + RETRY_TOPIC_RETENTION).as_millis())),
                )
            }
            TopicRule::NotCompacted | TopicRule::Retries { .. } if compacts => {
                let why = "compaction would delete all records of a key except the last";
                wrong(policy_found, "cleanup.policy = delete", why, set_policy("delete"))
            }
            _ => TopicStatus::Correct { found: format!("{}, {policy_found}", count_text(partitions, "partition")) },
        }
    }
}

impl fmt::Display for RequiredTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, count_text(self.partitions as usize, "partition"))?;
        for (name, value) in &self.settings {
            write!(f, ", {name} = {value}")?;
        }
        f.write_str(")")
    }
}

/// `1 partition`, `2 partitions`.
pub fn count_text(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(which: usize, partitions: usize, policy: &str) -> TopicStatus {
        let settings = [("cleanup.policy".to_owned(), policy.to_owned())].into();
        required_topics(&Config::default())[which].check_settings(partitions, &settings, "b:9092")
    }

    #[test]
    fn definitions_are_one_compacted_partition() {
        assert!(matches!(judged(0, 1, "compact"), TopicStatus::Correct { .. }));
        for policy in ["delete", "compact,delete"] {
            let TopicStatus::Wrong(wrong) = judged(0, 1, policy) else { panic!("{policy} loses definitions") };
            assert_eq!(
                wrong.to_string(),
                format!(
                    "topic outhook.definitions (definitions.topic) has cleanup.policy = {policy}, but needs \
                     cleanup.policy = compact: old definitions would be deleted"
                )
            );
            assert_eq!(
                wrong.fix,
                "kafka-configs.sh --bootstrap-server b:9092 --alter --entity-type topics --entity-name \
                 outhook.definitions --add-config cleanup.policy=compact"
            );
        }
        assert!(matches!(judged(0, 3, "compact"), TopicStatus::Wrong(wrong) if wrong.found == "3 partitions"));
    }

    #[test]
    fn dead_letters_are_not_compacted() {
        assert!(
            matches!(judged(1, 7, "delete"), TopicStatus::Correct { found } if found == "7 partitions, cleanup.policy = delete")
        );
        assert!(matches!(judged(1, 1, "compact,delete"), TopicStatus::Wrong(wrong) if wrong.fix.ends_with("=delete")));
    }

    #[test]
    fn the_message_log_has_a_topic_unless_it_is_off() {
        let names = |level| {
            let message_log = message_log::Config { level, ..message_log::Config::default() };
            required_topics(&Config { message_log, ..Config::default() })
                .into_iter()
                .any(|topic| topic.key == "message_log.topic")
        };
        assert_eq!(
            [MessageLogLevel::All, MessageLogLevel::Failures, MessageLogLevel::Off].map(names),
            [true, true, false]
        );
    }

    #[test]
    fn retry_topics_need_sufficient_partitions_record_size_and_retention() {
        let required = required_topics(&Config::default());
        let tier = required.iter().find(|topic| topic.name == "outhook.retry.5m").unwrap();
        let judged = |partitions, settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            tier.check_settings(partitions, &settings, "b:9092")
        };
        let right = [("cleanup.policy", "delete"), ("max.message.bytes", "20000000"), ("retention.ms", "-1")];
        assert!(matches!(judged(4, &right), TopicStatus::Correct { .. }));
        for (partitions, setting, found) in [
            (3, ("cleanup.policy", "delete"), "3 partitions"),
            (4, ("cleanup.policy", "compact"), "cleanup.policy = compact"),
            (4, ("max.message.bytes", "1048588"), "max.message.bytes = 1048588"),
            (4, ("retention.ms", "599999"), "retention.ms = 599999"),
        ] {
            let TopicStatus::Wrong(wrong) = judged(partitions, &[setting]) else { panic!("{found} loses calls") };
            assert_eq!(wrong.found, found);
        }
    }

    #[test]
    fn call_topics_need_the_configured_number_of_partitions() {
        let required = required_topics(&Config::default());
        for part in ["retries", "overflow", "row_order"] {
            let topic = required.iter().find(|topic| topic.key == format!("{part}.topic")).unwrap();
            let TopicStatus::Wrong(wrong) = topic.check_settings(3, &BTreeMap::new(), "b:9092") else {
                panic!("{part}")
            };
            assert_eq!(wrong.needed, format!("the number in {part}.partitions"));
            let mend = format!("set {part}.partitions = 3 on all instances, or set {part}.topic to another name");
            assert_eq!(wrong.fix, mend);
        }
    }

    #[test]
    fn stats_topic_is_one_compacted_partition_that_may_delete_old_counts() {
        for policy in ["compact,delete", "compact"] {
            assert!(matches!(judged(2, 1, policy), TopicStatus::Correct { .. }));
        }
        assert!(
            matches!(judged(2, 1, "delete"), TopicStatus::Wrong(wrong) if wrong.fix.ends_with("=[compact,delete]"))
        );
        assert!(matches!(judged(2, 2, "compact,delete"), TopicStatus::Wrong(wrong) if wrong.found == "2 partitions"));
    }
}
