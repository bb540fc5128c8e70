//! The Debezium envelope, with and without its schema.
//! <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events>

mod control;
mod envelope;
mod key;
mod log_position;
mod placeholder;
mod signal;
mod source;

use std::borrow::Cow;

use self::envelope::Envelope;
use self::key::RecordKey;
use self::placeholder::Placeholder;
use self::source::Source;
use super::invalid_record::InvalidRecord;
use super::schema::SchemaCache;
use super::{
    DecodeError, Decoded, Decoder, Format, Ignored, Input, Row, RowChange, RowsSent, SnapshotRows, format_detection,
};
pub use crate::decode::debezium::log_position::DATABASES_WITH_STABLE_IDENTITY;
use crate::vocabulary::Operation;

/// State of one partition that is kept between records.
pub(super) struct PartitionCache {
    schemas: SchemaCache,
    placeholder: Placeholder,
    /// Buffer for the table's key in [`WholeTables`](super::WholeTables), rewritten for each record.
    table_buffer: String,
}

impl PartitionCache {
    pub(super) fn new(unavailable_placeholder: &str) -> Self {
        Self {
            schemas: SchemaCache::default(),
            placeholder: Placeholder::new(unavailable_placeholder),
            table_buffer: String::new(),
        }
    }
}

pub(super) fn decode<'a>(decoder: &mut Decoder, input: &Input<'a>) -> Result<Decoded<'a>, DecodeError> {
    let Some(text) = input.text(Format::Debezium)? else { return Ok(Decoded::Ignored(Ignored::Tombstone)) };
    read(decoder, input, text).map_err(|reason| format_detection::decode_error(Format::Debezium, input, text, &reason))
}

fn read<'a>(decoder: &mut Decoder, input: &Input<'a>, text: &'a str) -> Result<Decoded<'a>, InvalidRecord> {
    let message = envelope::read(text, &mut decoder.debezium.schemas)?;
    let Some(envelope) = message.envelope else { return Ok(Decoded::Ignored(Ignored::Tombstone)) };
    let operation = match envelope.op.as_deref() {
        Some("c") => Operation::Insert,
        Some("u") => Operation::Update,
        Some("d") => Operation::Delete,
        Some("r") => match decoder.settings.snapshot_rows {
            SnapshotRows::Ignore => return Ok(Decoded::Ignored(Ignored::Snapshot)),
            SnapshotRows::Insert => Operation::Insert,
        },
        Some("t") => return Ok(Decoded::Ignored(Ignored::Truncate)),
        Some("m") => return Ok(Decoded::Ignored(Ignored::LogicalMessage)),
        Some(op) => {
            let rule = "be c, u, d, r, t or m";
            return Err(InvalidRecord::UnknownText { key: "op", text: op.to_owned(), rule });
        }
        None => {
            let rule = "be c, u, d, r, t or m; the record is not a heartbeat, transaction or schema change either";
            return control::kind(text).map(Decoded::Ignored).ok_or(InvalidRecord::Missing { key: "op", rule });
        }
    };
    change(decoder, input, envelope, message.has_schema, operation)
}

/// Decodes a row change, or a signal of the connector.
fn change<'a>(
    decoder: &mut Decoder,
    input: &Input<'a>,
    mut envelope: Envelope<'a>,
    has_schema: bool,
    operation: Operation,
) -> Result<Decoded<'a>, InvalidRecord> {
    let no_source = InvalidRecord::Missing { key: "source", rule: "say which table changed" };
    let source = envelope.source.take().ok_or(no_source)?;
    if let Some(found) = format_detection::detect_unsupported_connector(source.connector()) {
        return Err(InvalidRecord::UnsupportedConnector(found));
    }
    let settings = &*decoder.settings;
    if signal::is_signal(settings.signal_table.as_deref(), &source, &envelope) {
        return Ok(Decoded::Ignored(Ignored::Signal));
    }
    let key = RecordKey::read(input.key);
    let mut trimmed = false;
    match operation {
        Operation::Insert => {}
        Operation::Update => learn(decoder, &source, envelope.before.is_some()),
        Operation::Delete => trimmed = trim(decoder, input, &source, &key, &mut envelope.before)?,
    }
    let row = match operation {
        Operation::Insert | Operation::Update => envelope.after.as_ref(),
        Operation::Delete => envelope.before.as_ref(),
    };
    let row = row.ok_or(InvalidRecord::MissingRow(operation))?;
    let op = envelope.op.as_deref().unwrap_or_default();
    let identity = source.identity(op, &key, row).unwrap_or_else(|| input.record_identity());

    let state = &decoder.debezium;
    for row in [&mut envelope.before, &mut envelope.after].into_iter().flatten() {
        state.placeholder.mark(row);
        if has_schema && let Some(schema) = state.schemas.last() {
            schema.apply(row);
        }
    }
    let settings = &*decoder.settings;
    Ok(Decoded::Change(RowChange {
        account: Cow::Owned(settings.account.as_str().to_owned()),
        table: source.table(settings.table_naming)?,
        operation,
        source: settings.event_source(input, envelope.before.as_ref(), envelope.after.as_ref()),
        event_date: source.event_date(input),
        sequence: source.sequence(op, operation, input),
        identity,
        before: envelope.before,
        after: envelope.after,
        trimmed,
        unknown_change: settings.unknown_change,
    }))
}

/// Learns from an update whether its table is sent whole.
fn learn(decoder: &mut Decoder, source: &Source<'_>, whole: bool) {
    if decoder.settings.rows_sent == RowsSent::Learn {
        let table = &mut decoder.debezium.table_buffer;
        source.write_full_name(table, decoder.settings.account.as_str());
        decoder.whole_tables.update(table, whole);
    }
}

/// Keeps only the key's values of a delete's row, unless the table is known to be sent whole: PostgreSQL fills the
/// other fields with null, defaults and zeros that look like data. Returns whether values are missing.
fn trim<'a>(
    decoder: &mut Decoder,
    input: &Input<'a>,
    source: &Source<'_>,
    key: &RecordKey<'a>,
    before: &mut Option<Row<'a>>,
) -> Result<bool, InvalidRecord> {
    let Some(row) = before else {
        // Some connectors send no old row; the key still identifies the deleted row.
        *before = key.row();
        return Ok(true);
    };
    // Without a key PostgreSQL allows a delete only if the whole row is sent (REPLICA IDENTITY FULL).
    if decoder.settings.rows_sent == RowsSent::Whole || matches!(key, RecordKey::Absent) {
        return Ok(false);
    }
    let table = &mut decoder.debezium.table_buffer;
    source.write_full_name(table, decoder.settings.account.as_str());
    if decoder.whole_tables.contain(table) {
        return Ok(false);
    }
    let key = key.row().ok_or_else(|| RecordKey::missing_fields_error(input.key))?;
    let mut trimmed = false;
    for field in row.fields.iter_mut().filter(|field| key.get(&field.name).is_none()) {
        field.value.available = false;
        trimmed = true;
    }
    Ok(trimmed)
}

#[cfg(test)]
mod tests;
