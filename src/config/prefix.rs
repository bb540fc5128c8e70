//! The prefix of the names of Outhook's own topics and group: one key for a second installation on a cluster.

use serde::Deserialize;

use super::{Config, ConfigProblem, contradictions};

/// The default prefix.
const DEFAULT_PREFIX: &str = "outhook";

/// Names of Outhook's own topics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// Prefix of the names of Outhook's own topics and of the consumer group, in place of outhook. It does not apply
    /// to a name that has been set by its own key. Each installation on a cluster needs a different prefix. Default
    /// "outhook".
    pub prefix: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self { prefix: DEFAULT_PREFIX.to_owned() }
    }
}

impl Topics {
    pub(super) fn problems(&self) -> Option<ConfigProblem> {
        let Self { prefix } = self;
        (!contradictions::is_topic_name(prefix)).then(|| {
            let wrong = format!("is {prefix:?}, which can't start a topic name");
            ConfigProblem::of_key("topics.prefix", wrong, "use 1 to 249 of the characters a-z A-Z 0-9 . _ -")
        })
    }
}

/// Applies the prefix to each name that is not set by its own key.
pub(super) fn apply_prefix(config: &mut Config, is_set: impl Fn(&str) -> bool) {
    let prefix = &config.topics.prefix;
    let names = [
        ("kafka.group", &mut config.kafka.group),
        ("definitions.topic", &mut config.definitions.topic),
        ("dead_letters.topic", &mut config.dead_letters.topic),
        ("retries.topic", &mut config.retries.topic),
        ("overflow.topic", &mut config.overflow.topic),
        ("row_order.topic", &mut config.row_order.topic),
        ("operator_events.topic", &mut config.operator_events.topic),
        ("message_log.topic", &mut config.message_log.topic),
        ("stats.topic", &mut config.stats.topic),
    ];
    for (_, name) in names.into_iter().filter(|(key, _)| !is_set(key)) {
        if let Some(rest) = name.strip_prefix(DEFAULT_PREFIX) {
            *name = format!("{prefix}{rest}");
        }
    }
}
