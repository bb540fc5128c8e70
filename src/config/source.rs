//! Topics with row changes: a `[[sources]]` section.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ConfigProblem, TopicPattern};
use crate::decode::{self, EventSourceRule, Format, RowsSent, SnapshotRows, TableNaming, UnknownChange};
use crate::id::AccountId;
use crate::vocabulary::EventSource;

/// Topics whose records are read in one way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// What reports call the source. Default: its topics.
    #[serde(default)]
    pub name: Option<String>,
    /// The topics by name. Either this or topics_regex. Default none.
    #[serde(default)]
    pub topics: Vec<String>,
    /// The topics by a regular expression for their whole names, topics created later included. Backslashes are easiest in TOML's single quotes: 'cdc\.app\..*'. Default none.
    #[serde(default)]
    pub topics_regex: Option<TopicPattern>,
    /// What the records are: "outhook" or "debezium". Required.
    pub format: Format,
    /// The account of changes that name none; Debezium's never do. Default "default".
    #[serde(default)]
    pub account: AccountId,
    /// Which kind of program made the changes: one of Datasheet, DataPages, DataParts, Extensions, RESTAPIs, TriggeredActions and Tasks, or where each record says so, as { header = "name" } or { field = "name" }. Without one, changes fire only events that take all sources. Default none.
    #[serde(default, deserialize_with = "event_source")]
    pub event_source: Option<EventSourceRule>,
    /// What Debezium's tables are called in definitions: "table", "schema.table" or "database.table". Default "table".
    #[serde(default)]
    pub table_name: TableNaming,
    /// What rows of Debezium's snapshots do: "ignore", or "insert" to fire insert events. Default "ignore".
    #[serde(default)]
    pub snapshot: SnapshotRows,
    /// Whether an update that doesn't say what the row was before fires events with selected fields: "fire" or "skip". Default "fire".
    #[serde(default)]
    pub unknown_change: UnknownChange,
    /// Whether a delete brings the whole row: "whole", or "learn" to believe only its key until an update of the table has shown its former values. Default "learn".
    #[serde(default)]
    pub rows: RowsSent,
    /// What Debezium writes for a value that it doesn't know: the connector's unavailable.value.placeholder. Default "__debezium_unavailable_value".
    #[serde(default = "default_placeholder")]
    pub unavailable_placeholder: String,
    /// The connector's signal.data.collection, whose rows are no changes; without it they are known by their shape. Default none.
    #[serde(default)]
    pub signal_table: Option<String>,
}

fn default_placeholder() -> String {
    decode::UNAVAILABLE_PLACEHOLDER.to_owned()
}

impl SourceConfig {
    /// The source of what Outhook tells operators.
    pub fn of_operator_events(topic: &str) -> Self {
        Self {
            name: Some("operator events".to_owned()),
            topics: vec![topic.to_owned()],
            topics_regex: None,
            format: Format::Outhook,
            account: AccountId::default(),
            event_source: None,
            table_name: TableNaming::default(),
            snapshot: SnapshotRows::default(),
            unknown_change: UnknownChange::default(),
            rows: RowsSent::default(),
            unavailable_placeholder: default_placeholder(),
            signal_table: None,
        }
    }

    /// Whether a topic is one of the source's.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|name| name == topic)
            || self.topics_regex.as_ref().is_some_and(|pattern| pattern.matches(topic))
    }

    /// What the decoder of its records has to know.
    pub fn settings(&self) -> decode::Settings {
        decode::Settings {
            format: self.format,
            account: self.account.clone(),
            event_source: self.event_source.clone(),
            table_name: self.table_name,
            snapshot: self.snapshot,
            unknown_change: self.unknown_change,
            rows: self.rows,
            unavailable_placeholder: self.unavailable_placeholder.clone(),
            signal_table: self.signal_table.clone(),
        }
    }

    /// What is wrong with the section by itself; `key` is its place, such as `sources[0]`.
    pub(super) fn problems(&self, key: &str) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        match (&self.topics_regex, self.topics.as_slice()) {
            (None, []) => problems.push(ConfigProblem::with(
                key,
                format!("{key} names no topics"),
                "give it topics = [\"…\"] or topics_regex = '…'",
            )),
            (Some(pattern), [_, ..]) => problems.push(ConfigProblem::with(
                key,
                format!("{key} has both topics = {:?} and topics_regex = {pattern:?}", self.topics),
                "keep one of them, or make two sources",
            )),
            _ => {}
        }
        if self.account.as_str().trim().is_empty() {
            problems.push(ConfigProblem::with(
                format!("{key}.account"),
                format!("{key}.account is empty"),
                "name it, or leave it out",
            ));
        }
        if self.format == Format::Outhook {
            problems.extend(self.only_debezium(key));
        }
        problems
    }

    /// Settings that would silently do nothing.
    fn only_debezium(&self, key: &str) -> impl Iterator<Item = ConfigProblem> {
        let set = [
            ("table_name", self.table_name != TableNaming::default()),
            ("snapshot", self.snapshot != SnapshotRows::default()),
            ("signal_table", self.signal_table.is_some()),
            ("rows", self.rows != RowsSent::default()),
            ("unavailable_placeholder", self.unavailable_placeholder != decode::UNAVAILABLE_PLACEHOLDER),
        ];
        set.into_iter().filter(|(_, set)| *set).map(move |(name, _)| {
            let message =
                format!("{key}.{name} is set, but {key}.format is \"outhook\" and only \"debezium\" has such rows");
            ConfigProblem::with(format!("{key}.{name}"), message, "remove it, or change the format")
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
                Some(_) => Err(A::Error::custom("two places to look at: keep header or field")),
                None => Ok(rule),
            }
        }
    }

    deserializer.deserialize_any(RuleVisitor).map(Some)
}
