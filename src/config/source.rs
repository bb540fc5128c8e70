//! Topics with row changes: a `[[sources]]` section.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ConfigProblem, TopicPattern};
use crate::decode::{self, EventSourceRule, Format, RowsSent, SnapshotRows, TableNaming, UnknownChangePolicy};
use crate::id::AccountId;
use crate::vocabulary::EventSource;

/// Settings of one source: topics whose records are decoded in the same way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Name of the source in reports. Default: its topics.
    #[serde(default)]
    pub name: Option<String>,
    /// Names of the topics. Set either this or topics_regex. Default none.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Regular expression that matches the whole names of the topics, including topics created later. Write
    /// backslashes in TOML's single quotes: 'cdc\.app\..*'. Default none.
    #[serde(default)]
    pub topics_regex: Option<TopicPattern>,
    /// Format of the records: "outhook" or "debezium". Required.
    pub format: Format,
    /// Account of row changes that name no account. Debezium's changes never name one. Default "default".
    #[serde(default)]
    pub account: AccountId,
    /// The event source of the changes: one of Datasheet, DataPages, DataParts, Extensions, RESTAPIs,
    /// TriggeredActions and Tasks. Or the place of the event source in each record, as { header = "name" } or { field
    /// = "name" }. Without it, changes fire only events that accept all event sources. Default none.
    #[serde(default, deserialize_with = "event_source")]
    pub event_source: Option<EventSourceRule>,
    /// Form of the names of Debezium's tables in definitions: "table", "schema.table" or "database.table". Default
    /// "table".
    #[serde(default)]
    pub table_name: TableNaming,
    /// Handling of rows of Debezium's snapshots: "ignore", or "insert" to fire insert events. Default "ignore".
    #[serde(default)]
    pub snapshot: SnapshotRows,
    /// Handling of an update without the row's former values, for events with selected fields: "fire" or "skip".
    /// Default "fire".
    #[serde(default)]
    pub unknown_change: UnknownChangePolicy,
    /// Whether deletes contain the whole row: "whole", or "learn" to use only the key fields until an update of the
    /// table has contained the row's former values. Default "learn".
    #[serde(default)]
    pub rows: RowsSent,
    /// Placeholder that Debezium writes for a value that it doesn't have: the connector's
    /// unavailable.value.placeholder. Default "__debezium_unavailable_value".
    #[serde(default = "default_placeholder")]
    pub unavailable_placeholder: String,
    /// The connector's signal.data.collection, whose rows are not row changes. Without it they are detected by their
    /// shape. Default none.
    #[serde(default)]
    pub signal_table: Option<String>,
}

fn default_placeholder() -> String {
    decode::UNAVAILABLE_PLACEHOLDER.to_owned()
}

impl SourceConfig {
    /// The source that reads the operator events topic.
    pub fn for_operator_events(topic: &str) -> Self {
        Self {
            name: Some("operator events".to_owned()),
            topics: vec![topic.to_owned()],
            topics_regex: None,
            format: Format::Outhook,
            account: AccountId::default(),
            event_source: None,
            table_name: TableNaming::default(),
            snapshot: SnapshotRows::default(),
            unknown_change: UnknownChangePolicy::default(),
            rows: RowsSent::default(),
            unavailable_placeholder: default_placeholder(),
            signal_table: None,
        }
    }

    /// Whether the source reads a topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|name| name == topic)
            || self.topics_regex.as_ref().is_some_and(|pattern| pattern.matches(topic))
    }

    /// Settings of the decoder of its records.
    pub fn settings(&self) -> decode::Settings {
        decode::Settings {
            format: self.format,
            account: self.account.clone(),
            event_source: self.event_source.clone(),
            table_naming: self.table_name,
            snapshot_rows: self.snapshot,
            unknown_change: self.unknown_change,
            rows_sent: self.rows,
            unavailable_placeholder: self.unavailable_placeholder.clone(),
            signal_table: self.signal_table.clone(),
        }
    }

    /// Finds the problems of the section alone. `key` names it, such as `sources[0]`.
    pub(super) fn problems(&self, key: &str) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        match (&self.topics_regex, self.topics.as_slice()) {
            (None, []) => problems.push(ConfigProblem::of_key(
                key,
                "names no topics",
                "add topics = [\"…\"] or topics_regex = '…'",
            )),
            (Some(pattern), [_, ..]) => problems.push(ConfigProblem::of_key(
                key,
                format!("has both topics = {:?} and topics_regex = {pattern:?}", self.topics),
                "keep one of them, or make two sources",
            )),
            _ => {}
        }
        if self.account.as_str().trim().is_empty() {
            let key = format!("{key}.account");
            problems.push(ConfigProblem::of_key(key, "is empty", "set it to a name, or remove it"));
        }
        if self.format == Format::Outhook {
            problems.extend(self.ineffective_settings(key));
        }
        problems
    }

    /// Finds settings that would have no effect.
    fn ineffective_settings(&self, key: &str) -> impl Iterator<Item = ConfigProblem> {
        let set = [
            ("table_name", self.table_name != TableNaming::default()),
            ("snapshot", self.snapshot != SnapshotRows::default()),
            ("signal_table", self.signal_table.is_some()),
            ("rows", self.rows != RowsSent::default()),
            ("unavailable_placeholder", self.unavailable_placeholder != decode::UNAVAILABLE_PLACEHOLDER),
        ];
        set.into_iter().filter(|(_, set)| *set).map(move |(name, _)| {
            let wrong = format!("is set, but {key}.format is \"outhook\" and it has an effect only with \"debezium\"");
            ConfigProblem::of_key(format!("{key}.{name}"), wrong, "remove it, or change the format")
        })
    }
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.topics_regex) {
            (Some(name), _) => f.write_str(name),
            (None, Some(pattern)) => write!(f, "/{pattern}/"),
            (None, None) => f.write_str(&self.topics.join(", ")),
        }
    }
}

/// Reads `"DataPages"`, `{ header = "…" }` or `{ field = "…" }`.
fn event_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventSourceRule>, D::Error> {
    struct RuleVisitor;

    impl<'de> Visitor<'de> for RuleVisitor {
        type Value = EventSourceRule;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an event source, { header = \"…\" } or { field = \"…\" }")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EventSourceRule, E> {
            text.parse::<EventSource>().map(EventSourceRule::Constant).map_err(E::custom)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventSourceRule, A::Error> {
            let rule = match map.next_entry::<String, String>()? {
                Some((key, name)) if key == "header" => EventSourceRule::Header(name),
                Some((key, name)) if key == "field" => EventSourceRule::Field(name),
                Some((key, _)) => return Err(A::Error::unknown_field(&key, &["header", "field"])),
                None => {
                    return Err(A::Error::custom("an empty table: expected { header = \"…\" } or { field = \"…\" }"));
                }
            };
            match map.next_key::<String>()? {
                Some(_) => Err(A::Error::custom("there are two places: keep header or field")),
                None => Ok(rule),
            }
        }
    }

    deserializer.deserialize_any(RuleVisitor).map(Some)
}
