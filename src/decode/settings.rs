//! Settings of a `[[sources]]` entry that concern decoding.

use serde::Deserialize;

use super::{Input, Row, UnknownChangePolicy};
use crate::id::AccountId;
use crate::vocabulary::EventSource;

/// Decoding settings of one source.
#[derive(Debug, Clone)]
pub struct Settings {
    pub format: Format,
    pub account: AccountId,
    pub event_source: Option<EventSourceRule>,
    pub table_naming: TableNaming,
    pub snapshot_rows: SnapshotRows,
    pub unknown_change: UnknownChangePolicy,
    pub rows_sent: RowsSent,
    /// The connector's `unavailable.value.placeholder`: its text for a value that it does not know.
    pub unavailable_placeholder: String,
    /// The connector's `signal.data.collection`, such as `public.dbz_signal`. If None, signals are recognised by
    /// their shape.
    pub signal_table: Option<String>,
}

/// Debezium's default text for a value that it does not know.
pub const UNAVAILABLE_PLACEHOLDER: &str = "__debezium_unavailable_value";

impl Settings {
    /// The defaults for a format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            account: AccountId::default(),
            event_source: None,
            table_naming: TableNaming::default(),
            snapshot_rows: SnapshotRows::default(),
            unknown_change: UnknownChangePolicy::default(),
            rows_sent: RowsSent::default(),
            unavailable_placeholder: UNAVAILABLE_PLACEHOLDER.to_owned(),
            signal_table: None,
        }
    }

    /// The event source of a change whose record does not name it.
    pub(super) fn event_source(
        &self,
        input: &Input<'_>,
        before: Option<&Row<'_>>,
        after: Option<&Row<'_>>,
    ) -> Option<EventSource> {
        self.event_source.as_ref()?.resolve(input, before, after)
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
    /// The format's name in the configuration.
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

/// How a Debezium table is named in definitions.
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

/// How a snapshot's rows (op `r`) are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotRows {
    #[default]
    Ignore,
    Insert,
}

/// Whether a delete's `before` is the whole row (`whole`), or that is learned from updates (`learn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum RowsSent {
    #[default]
    Learn,
    Whole,
}
