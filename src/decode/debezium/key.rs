//! A record's key: which row changed, and which fields of a delete's `before` can be believed.

use std::borrow::Cow;
use std::fmt::Write;

use crate::decode::row::Row;
use crate::decode::{json, wire};
use crate::json::without_byte_order_mark;

/// A record's key, out of its schema's wrapping if it came in one.
#[derive(Clone, Copy)]
pub(super) enum RecordKey<'a> {
    /// No bytes, none but white space, or null in JSON: a table without a key.
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

    /// Why the key has no fields, and what to do about it.
    pub(super) fn no_row(key: Option<&[u8]>) -> String {
        let why = key.and_then(|key| wire::text(key).err()).map_or(String::new(), |reason| format!(" ({reason})"));
        format!(
            "the record's key is no JSON object{why}, so nothing says which values of the deleted row are real: let the \
             connector write its keys with JsonConverter, or set rows = \"whole\" if its tables are sent whole"
        )
    }

    /// The key's fields; None when it is no JSON object.
    pub(super) fn row(&self) -> Option<Row<'a>> {
        match self {
            Self::Text(text) => json::row(text),
            Self::Absent | Self::Bytes(_) => None,
        }
    }

    /// Ends an identity: the key, or for a table without one the row itself, because a COPY gives many rows one
    /// position.
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

/// What a key with its schema holds.
fn payload(text: &str) -> Option<&str> {
    // Spares most keys a second reading.
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
