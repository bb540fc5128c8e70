//! Kinds of values seen in a field, and the type inferred from them. Pure.

use std::borrow::Cow;
use std::fmt;

use crate::json::{self, JsonKind};

/// A field's type as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldKind {
    String,
    Text,
    Number,
    Integer,
    DateTime,
    YesNo,
    Guid,
}

impl FieldKind {
    pub fn as_str(self) -> &'static str {
        match self {
            FieldKind::String => "STRING",
            FieldKind::Text => "TEXT",
            FieldKind::Number => "NUMBER",
            FieldKind::Integer => "INTEGER",
            FieldKind::DateTime => "DATE/TIME",
            FieldKind::YesNo => "YES/NO",
            FieldKind::Guid => "GUID",
        }
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of kinds of values. Sets are only ever merged, so the order in which values are seen does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::catalogue) struct ValueKinds(u8);

impl ValueKinds {
    pub const STRING: Self = Self(1);
    /// A text too long for a STRING, an array, or an object.
    pub const TEXT: Self = Self(1 << 1);
    pub const NUMBER: Self = Self(1 << 2);
    pub const INTEGER: Self = Self(1 << 3);
    pub const DATE_TIME: Self = Self(1 << 4);
    pub const YES_NO: Self = Self(1 << 5);
    pub const GUID: Self = Self(1 << 6);

    /// In the order in which names are written.
    const NAMES: [(Self, FieldKind); 7] = [
        (Self::STRING, FieldKind::String),
        (Self::TEXT, FieldKind::Text),
        (Self::NUMBER, FieldKind::Number),
        (Self::INTEGER, FieldKind::Integer),
        (Self::DATE_TIME, FieldKind::DateTime),
        (Self::YES_NO, FieldKind::YesNo),
        (Self::GUID, FieldKind::Guid),
    ];

    /// Kind of one value, given as JSON text. Null has no kind.
    pub fn of(value: &str) -> Self {
        match JsonKind::of(value) {
            JsonKind::Null => Self::default(),
            JsonKind::Bool => Self::YES_NO,
            JsonKind::Number if value.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => Self::NUMBER,
            JsonKind::Number => Self::INTEGER,
            JsonKind::Array | JsonKind::Object => Self::TEXT,
            JsonKind::String => text_kinds(value),
        }
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this set contains all kinds of `other`.
    pub fn has(self, other: Self) -> bool {
        self.union(other) == self
    }

    /// The narrowest type that takes every value seen.
    pub fn inferred_type(self) -> FieldKind {
        match self {
            Self::INTEGER => FieldKind::Integer,
            Self::DATE_TIME => FieldKind::DateTime,
            Self::YES_NO => FieldKind::YesNo,
            Self::GUID => FieldKind::Guid,
            _ if self.has(Self::TEXT) => FieldKind::Text,
            _ if self.has(Self::NUMBER) && Self::NUMBER.union(Self::INTEGER).has(self) => FieldKind::Number,
            _ => FieldKind::String,
        }
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(kind, _)| self.has(*kind)).map(|(_, name)| name.as_str())
    }

    /// Adds the kind with this name. A name that only a newer version knows adds nothing.
    pub fn with_name(self, name: &str) -> Self {
        let named = Self::NAMES.into_iter().find(|(_, kind)| kind.as_str() == name);
        named.map_or(self, |(kind, _)| self.union(kind))
    }
}

fn text_kinds(value: &str) -> ValueKinds {
    /// Max characters of a STRING.
    const STRING: usize = 255;
    let raw = json::between_quotes(value);
    if is_guid(raw.as_bytes()) {
        ValueKinds::GUID
    } else if is_date(raw.as_bytes()) {
        ValueKinds::DATE_TIME
    } else if raw.len() > STRING && json::unescape(value).unwrap_or(Cow::Borrowed(raw)).chars().count() > STRING {
        ValueKinds::TEXT
    } else {
        ValueKinds::STRING
    }
}

/// Whether a text is a date such as `2024-02-29`, alone or followed by a time, as ISO 8601 and SQL write it.
fn is_date(text: &[u8]) -> bool {
    let time = |rest: &[u8]| match rest {
        [] => true,
        [b'T' | b't' | b' ', rest @ ..] => matches_pattern(rest.get(..5), b"99:99"),
        _ => false,
    };
    // A time with nine digits of a fraction and an offset fits. A longer text is something different.
    text.len() <= 40 && matches_pattern(text.get(..10), b"9999-99-99") && time(&text[10..])
}

fn is_guid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether the text has a digit where the pattern has a 9, and the same character everywhere else.
fn matches_pattern(text: Option<&[u8]>, pattern: &[u8]) -> bool {
    let like = |(byte, wanted): (&u8, &u8)| if *wanted == b'9' { byte.is_ascii_digit() } else { byte == wanted };
    text.is_some_and(|text| text.iter().zip(pattern).all(like))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(values: &[&str]) -> &'static str {
        values
            .iter()
            .fold(ValueKinds::default(), |kinds, value| kinds.union(ValueKinds::of(value)))
            .inferred_type()
            .as_str()
    }

    #[test]
    fn narrowest_type_that_fits_all_values_is_inferred() {
        let (fits, long) = (format!("\"{}\"", "é".repeat(255)), format!("\"{}\"", "é".repeat(256)));
        let escaped = format!("\"{}\"", "\\u00e9".repeat(255));
        let guid = "\"6F9619FF-8B86-d011-b42d-00c04fc964ff\"";
        for (values, expected) in [
            (&["null"][..], "STRING"),
            (&["\"a\"", "null"], "STRING"),
            (&[&fits], "STRING"),
            (&[&escaped], "STRING"),
            (&["\"a\"", &long], "TEXT"),
            (&["{}"], "TEXT"),
            (&["[1]", "1"], "TEXT"),
            (&["1", "null", "-7"], "INTEGER"),
            (&["1", "1.5"], "NUMBER"),
            (&["1e3"], "NUMBER"),
            (&["1", "\"a\""], "STRING"),
            (&["1", "true"], "STRING"),
            (&["true", "false", "null"], "YES/NO"),
            (&["\"2024-02-29\"", "\"2024-02-29T12:00:00.123456789+02:00\"", "\"2024-02-29 12:00\""], "DATE/TIME"),
            (&["\"2024-02-29\"", "\"tomorrow\""], "STRING"),
            (&["\"2024-02-290\""], "STRING"),
            (&["\"2024-02-29Tabc\""], "STRING"),
            (&[guid], "GUID"),
            (&[guid, "\"2024-02-29\""], "STRING"),
        ] {
            assert_eq!(kind(values), expected, "{values:?}");
        }
    }

    #[test]
    fn sets_of_kinds_round_trip_through_their_names() {
        for bits in 0..1 << 7 {
            let kinds = ValueKinds(bits);
            assert_eq!(kinds.names().fold(ValueKinds::default(), ValueKinds::with_name), kinds);
        }
        assert_eq!(ValueKinds::STRING.with_name("CURRENCY"), ValueKinds::STRING);
    }
}
