//! Stage 2: decodes a record's bytes into a [`RowChange`] in one pass. The row change borrows from the record.
//!
//! Values stay JSON text: nothing is parsed into a tree, and payloads splice the text from the record. Pure: no
//! clock, no I/O.

mod debezium;
mod event_date;
mod event_source;
mod format_detection;
mod invalid_record;
mod json;
mod outhook;
mod row;
mod schema;
mod settings;
mod whole_tables;
mod wire;

use std::sync::Arc;

pub use self::debezium::DATABASES_WITH_STABLE_IDENTITY;
pub use self::row::{EventDate, Field, Identity, Row, RowChange, Sequence, UnknownChangePolicy, Value};
pub use self::settings::{
    EventSourceRule, Format, RowsSent, Settings, SnapshotRows, TableNaming, UNAVAILABLE_PLACEHOLDER,
};
pub use self::whole_tables::WholeTables;

/// One Kafka record as the input of a decoder, without types of the Kafka client.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Kafka's timestamp, milliseconds since 1970 unless its producer wrote another unit; 0 when the record has none.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    /// None for a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a (dyn Headers + Sync),
}

impl<'a> Input<'a> {
    /// The value's text; None for a tombstone and for the text `null`, which Connect's JsonConverter writes for a
    /// tombstone.
    fn text(&self, format: Format) -> Result<Option<&'a str>, DecodeError> {
        let Some(value) = self.value else { return Ok(None) };
        let text = wire::text(value)
            .map_err(|reason| DecodeError::Malformed { format: format.name(), reason: reason.to_string() })?;
        Ok((text.trim_ascii() != "null").then_some(text))
    }

    /// The identity of a change without an id or log position: its record's place.
    fn record_identity(&self) -> Identity<'a> {
        let Self { topic, partition, offset, timestamp_ms, .. } = *self;
        Identity::RecordPosition { topic, partition, offset, timestamp_ms }
    }
}

/// A record's headers, by name. Of headers with the same name the last one counts, as in Kafka's `lastHeader`.
pub trait Headers {
    fn last(&self, name: &str) -> Option<&[u8]>;

    /// Calls `look` with each header that has a value, in order.
    fn for_each(&self, look: &mut dyn FnMut(&str, &[u8]));
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn last(&self, name: &str) -> Option<&[u8]> {
        self.iter().rev().find(|(n, _)| n.as_ref() == name).map(|(_, value)| value.as_ref())
    }

    fn for_each(&self, look: &mut dyn FnMut(&str, &[u8])) {
        self.iter().for_each(|(name, value)| look(name.as_ref(), value.as_ref()));
    }
}

/// Result of decoding a record.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all values are changes, and none is stored")]
pub enum Decoded<'a> {
    Change(RowChange<'a>),
    /// A record that fires nothing; counted by kind.
    Ignored(Ignored),
}

/// Why a well-formed record fires nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    Tombstone,
    Truncate,
    Snapshot,
    Heartbeat,
    Transaction,
    LogicalMessage,
    SchemaChange,
    Signal,
}

impl Ignored {
    pub fn as_str(self) -> &'static str {
        match self {
            Ignored::Tombstone => "tombstone",
            Ignored::Truncate => "truncate",
            Ignored::Snapshot => "snapshot",
            Ignored::Heartbeat => "heartbeat",
            Ignored::Transaction => "transaction",
            Ignored::LogicalMessage => "logical message",
            Ignored::SchemaChange => "schema change",
            Ignored::Signal => "signal",
        }
    }
}

/// Why a record can't be decoded. The caller adds the record's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Empty, not UTF-8, not JSON, or JSON of another shape. The reason says what was expected, and at which line and
    /// column.
    #[error("the value is not a valid {format} record: {reason}")]
    Malformed { format: &'static str, reason: String },
    /// Well formed, but in another format than the configured one of its source.
    #[error("the value looks like {found}, but its source is configured as format = \"{format}\"")]
    OtherFormat { format: &'static str, found: &'static str },
}

/// Keys of a record that are ignored, for users that check their records. Always empty for Debezium: its records are
/// written by connectors.
pub fn unknown_keys(format: Format, value: &[u8]) -> Vec<String> {
    match format {
        Format::Outhook => outhook::unknown_keys(value),
        Format::Debezium => Vec::new(),
    }
}

/// Decodes the records of one partition of a source into row changes. Each partition needs its own decoder, because a
/// decoder caches the compiled schemas. Decoders with the same [`WholeTables`] share which tables are sent whole.
pub struct Decoder {
    settings: Arc<Settings>,
    whole_tables: WholeTables,
    debezium: debezium::PartitionCache,
}

impl Decoder {
    pub fn new(settings: Arc<Settings>, whole_tables: WholeTables) -> Self {
        let debezium = debezium::PartitionCache::new(&settings.unavailable_placeholder);
        Self { settings, whole_tables, debezium }
    }

    /// Decodes one record. The row change borrows from the record's bytes.
    ///
    /// # Errors
    /// The value can't be read as the source's format.
    pub fn decode<'a>(&mut self, input: &Input<'a>) -> Result<Decoded<'a>, DecodeError> {
        match self.settings.format {
            Format::Outhook => outhook::decode(self, input),
            Format::Debezium => debezium::decode(self, input),
        }
    }
}

#[cfg(test)]
mod tests;
