//! A record's key: which row changed, and which fields of a delete's `before` can be trusted.

use std::borrow::Cow;
use std::fmt::Write;

use crate::decode::invalid_record::InvalidRecord;
use crate::decode::row::Row;
use crate::decode::{json, wire};
use crate::json::without_byte_order_mark;

/// A record's key, without the schema that may wrap it.
#[derive(Clone, Copy)]
pub(super) enum RecordKey<'a> {
    /// No bytes, only white space, or JSON null: a table without a key.
    Absent,
    Text(&'a str),
    /// Not UTF-8.
    Bytes(&'a [u8]),
}

impl<'a> RecordKey<'a> {
    pub(super) fn read(key: Option<&'a [u8]>) -> Self {
        let Some(bytes) = key else { return Self::Absent };
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Bytes(bytes) };
        let text = without_byte_order_mark(text);
        match payload(text).unwrap_or(text) {
            "null" => Self::Absent,
            text if text.trim_ascii().is_empty() => Self::Absent,
            text => Self::Text(text),
        }
    }

    /// The error of a key that has no fields.
    pub(super) fn missing_fields_error(key: Option<&[u8]>) -> InvalidRecord {
        InvalidRecord::KeyWithoutFields(key.and_then(|key| wire::text(key).err()))
    }

    /// The key's fields; None if it is not a JSON object.
    pub(super) fn row(&self) -> Option<Row<'a>> {
        match self {
            Self::Text(text) => json::row(text),
            Self::Absent | Self::Bytes(_) => None,
        }
    }

    /// Appends the key to an identity. A table without a key appends the row itself, because all rows of a COPY may
    /// share one position.
    pub(super) fn push_to(&self, identity: &mut String, row: &Row<'_>) {
        match self {
            Self::Text(text) => {
                identity.push_str("key ");
                identity.push_str(text);
            }
            Self::Bytes(bytes) => {
                identity.push_str("bytes ");
                bytes.iter().for_each(|byte| write!(identity, "{byte:02x}").expect("a String takes all"));
            }
            Self::Absent => {
                identity.push_str("row");
                for field in &row.fields {
                    write!(identity, " {:?} {}", field.name, field.value.json).expect("a String takes all");
                }
            }
        }
    }
}

/// The payload of a key that includes its schema.
fn payload(text: &str) -> Option<&str> {
    // Avoids parsing most keys twice.
    if !text.starts_with(r#"{"schema":"#) {
        return None;
    }
    let wrapped = json::row(text)?;
    let payload = wrapped.get("payload").filter(|_| wrapped.fields.len() == 2)?;
    match payload.json {
        Cow::Borrowed(payload) => Some(payload),
        Cow::Owned(_) => None,
    }
}
