//! A record's key: which row changed, and which fields of a delete's `before` can be believed.

use std::fmt::Write;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::decode::json;
use crate::decode::row::Row;

/// A record's key, out of its schema's wrapping if it came in one.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    /// No bytes, or null in JSON: a table without a key.
    Absent,
    Text(&'a str),
    /// Not UTF-8.
    Bytes(&'a [u8]),
}

impl<'a> Key<'a> {
    pub(super) fn read(key: Option<&'a [u8]>) -> Self {
        let Some(bytes) = key else { return Self::Absent };
        match std::str::from_utf8(bytes).map(|text| payload(text).unwrap_or(text)) {
            Ok("null") => Self::Absent,
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes(bytes),
        }
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
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped<'a> {
        #[serde(rename = "schema")]
        _schema: IgnoredAny,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    // Spares most keys a second reading.
    if !text.starts_with(r#"{"schema":"#) {
        return None;
    }
    serde_json::from_str::<Wrapped<'_>>(text).ok().map(|wrapped| wrapped.payload.get())
}
