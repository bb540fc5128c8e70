//! How the records of one source are read: the part of a `[[sources]]` entry that concerns decoding.

use serde::Deserialize;

use super::{Input, Row};
use crate::id::AccountId;
use crate::vocabulary::EventSource;

/// How the records of one source are read.
#[derive(Debug, Clone)]
pub struct Settings {
    pub format: Format,
    pub account: AccountId,
    pub event_source: Option<EventSourceRule>,
    pub table_name: TableNaming,
    pub snapshot: SnapshotRows,
    pub unknown_change: UnknownChange,
    pub rows: RowsSent,
    /// What the connector writes for a value that it does not know: its `unavailable.value.placeholder`.
    pub unavailable_placeholder: String,
    /// The connector's `signal.data.collection`, such as `public.dbz_signal`. When none is named, its rows are
    /// recognised by their shape.
    pub signal_table: Option<String>,
}

/// What Debezium writes for a value that it does not know, unless it is configured otherwise.
pub const UNAVAILABLE_PLACEHOLDER: &str = "__debezium_unavailable_value";

impl Settings {
    /// The defaults for a format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            account: AccountId::default(),
            event_source: None,
            table_name: TableNaming::default(),
            snapshot: SnapshotRows::default(),
            unknown_change: UnknownChange::default(),
            rows: RowsSent::default(),
            unavailable_placeholder: UNAVAILABLE_PLACEHOLDER.to_owned(),
            signal_table: None,
        }
    }

    /// The event source of a change that does not name its own.
    pub(super) fn event_source(
        &self,
        input: &Input<'_>,
        before: Option<&Row<'_>>,
        after: Option<&Row<'_>>,
    ) -> Option<EventSource> {
        self.event_source.as_ref()?.of(input, before, after)
    }
}

/// The wire format of a source's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Outhook,
    Debezium,
}

impl Format {
    /// As the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Outhook => "outhook",
            Format::Debezium => "debezium",
        }
    }
}

/// Where a change's event source comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSourceRule {
    Constant(EventSource),
    /// The text of a Kafka header.
    Header(String),
    /// The value of a field of the row.
    Field(String),
}

/// What a Debezium table is called in definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
pub enum TableNaming {
    #[default]
    #[serde(rename = "table")]
    Table,
    #[serde(rename = "schema.table")]
    SchemaTable,
    #[serde(rename = "database.table")]
    DatabaseTable,
}

/// What a snapshot's rows (op `r`) do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotRows {
    #[default]
    Ignore,
    Insert,
}

/// Whether events with selected fields fire for an update whose `before` is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum UnknownChange {
    #[default]
    Fire,
    Skip,
}

/// Whether a delete's `before` is the whole row (`whole`), or that is to be learnt from updates (`learn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum RowsSent {
    #[default]
    Learn,
    Whole,
}
