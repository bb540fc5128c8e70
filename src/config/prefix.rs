//! What the names of Outhook's own topics and its group begin with: one key for a second installation on a cluster.

use serde::Deserialize;

use super::{Config, ConfigProblem, contradictions};

/// What the names begin with by default.
const DEFAULT: &str = "outhook";

/// What Outhook's own topics are called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// What the names of Outhook's own topics and of the consumer group begin with in place of outhook, unless a key of their own says otherwise: another one for each installation on a cluster. Default "outhook".
    pub prefix: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self { prefix: DEFAULT.to_owned() }
    }
}

impl Topics {
    pub(super) fn problems(&self) -> Option<ConfigProblem> {
        let Self { prefix } = self;
        (!contradictions::is_topic_name(prefix)).then(|| {
            let message = format!("topics.prefix is {prefix:?}, with which no topic's name can begin");
            ConfigProblem::with("topics.prefix", message, "it has 1 to 249 of the characters a-z A-Z 0-9 . _ -")
        })
    }
}

/// Gives the prefix to each name that was not set itself.
pub(super) fn lay(config: &mut Config, is_set: impl Fn(&str) -> bool) {
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
        if let Some(rest) = name.strip_prefix(DEFAULT) {
            *name = format!("{prefix}{rest}");
        }
    }
}
