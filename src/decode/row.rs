//! A decoded row change, the same for all formats.

mod duplicate_fields;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::Offset;

use serde::Deserialize;

use crate::json;
use crate::vocabulary::{EventSource, Operation};

/// Whether events with selected fields fire for an update whose `before` is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum UnknownChangePolicy {
    #[default]
    Fire,
    Skip,
}

/// One change of one row.
#[derive(Debug)]
pub struct RowChange<'a> {
    pub account: Cow<'a, str>,
    pub table: Cow<'a, str>,
    pub operation: Operation,
    pub source: Option<EventSource>,
    pub event_date: EventDate,
    pub sequence: Sequence,
    pub identity: Identity<'a>,
    /// The old row; None when the source did not send it.
    pub before: Option<Row<'a>>,
    pub after: Option<Row<'a>>,
    /// Only the key fields of a delete's `before` are trusted: the others may be filler, or were not sent.
    pub trimmed: bool,
    /// The source's setting for an update without `before`.
    pub unknown_change: UnknownChangePolicy,
}

impl<'a> RowChange<'a> {
    /// The row that a message sends: the deleted row for a delete, the new row otherwise.
    pub fn sent_row(&self) -> Option<&Row<'a>> {
        match self.operation {
            Operation::Delete => self.before.as_ref(),
            Operation::Insert | Operation::Update => self.after.as_ref(),
        }
    }

    /// A field's value as it is sent. An unavailable value is replaced by `before`'s value; None if that is
    /// unavailable too.
    pub fn sent_value(&self, name: &str) -> Option<&Value<'a>> {
        let value = self.sent_row()?.get(name)?;
        if value.available { Some(value) } else { self.before_value(name) }
    }

    /// Fields of a default payload, in the row's order. An unavailable value is replaced by `before`'s value; without
    /// one the field is omitted.
    pub fn sent_fields(&self) -> impl Iterator<Item = (&Field<'a>, &Value<'a>)> {
        self.sent_row().into_iter().flat_map(|row| &row.fields).filter_map(|field| {
            let value = if field.value.available { Some(&field.value) } else { self.before_value(&field.name) };
            value.map(|value| (field, value))
        })
    }

    /// Fields whose value the source did not send: the sent row has the field, but neither row has its value.
    pub fn missing_fields(&self) -> impl Iterator<Item = &Field<'a>> {
        let fields = self.sent_row().into_iter().flat_map(|row| &row.fields);
        fields.filter(|field| !field.value.available && self.before_value(&field.name).is_none())
    }

    fn before_value(&self, name: &str) -> Option<&Value<'a>> {
        self.before.as_ref()?.get(name).filter(|value| value.available)
    }
}

/// A row's fields in the order of the source, each name once.
#[derive(Debug, Default)]
pub struct Row<'a> {
    pub fields: Vec<Field<'a>>,
    /// Indexes of the fields, sorted by name. Built at the first lookup in a row of more than
    /// [`MAX_LINEAR_SCAN_FIELDS`] fields.
    by_name: OnceLock<Box<[u32]>>,
}

/// Max fields of a row that a linear scan looks up. Larger rows use an index, because each field may be looked up.
const MAX_LINEAR_SCAN_FIELDS: usize = 32;

impl<'a> Row<'a> {
    /// Of fields with the same name only the last is kept, as JSON parsers do. A dropped field is neither matched nor
    /// sent.
    pub fn new(mut fields: Vec<Field<'a>>) -> Self {
        duplicate_fields::drop_duplicates(&mut fields);
        Self { fields, by_name: OnceLock::new() }
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        if self.fields.len() <= MAX_LINEAR_SCAN_FIELDS {
            return self.fields.iter().find(|field| field.name == name).map(|field| &field.value);
        }
        let by_name = self.by_name.get_or_init(|| duplicate_fields::indexes_by_name(&self.fields));
        debug_assert_eq!(by_name.len(), self.fields.len(), "fields do not change after the first lookup");
        let found = by_name.binary_search_by(|index| (*self.fields[*index as usize].name).cmp(name)).ok()?;
        Some(&self.fields[by_name[found] as usize].value)
    }
}

#[derive(Debug)]
pub struct Field<'a> {
    /// The name with its escapes decoded. A borrowed name can be written between quotes unchanged: it had no escapes,
    /// or it has an unpaired surrogate, which no Rust string can hold, and keeps all its escapes.
    pub name: Cow<'a, str>,
    pub value: Value<'a>,
}

impl Field<'_> {
    /// Appends the name as written between the quotes of a JSON key.
    pub fn write_name(&self, out: &mut String) {
        match &self.name {
            Cow::Borrowed(plain) => out.push_str(plain),
            Cow::Owned(decoded) => json::escape(decoded, out),
        }
    }
}

/// A field's value as JSON text, parsed only as far as needed.
#[derive(Debug)]
pub struct Value<'a> {
    /// Valid JSON text of one value, without white space around it. It may hold an escaped unpaired surrogate, which
    /// JSON's grammar allows and Unicode does not.
    pub json: Cow<'a, str>,
    /// False for a value that the source did not send: an unchanged TOAST value of PostgreSQL, or a field of a delete
    /// that may be filler.
    pub available: bool,
    /// The value is a string that holds JSON text (a json column): changes of its white space and key order do not
    /// count.
    pub json_text: bool,
}

impl<'a> Value<'a> {
    pub fn new(json: impl Into<Cow<'a, str>>) -> Self {
        Self { json: json.into(), available: true, json_text: false }
    }
}

/// When the change was made in its source, with the source's precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventDate {
    pub at: Timestamp,
    /// Digits of the second's fraction in the source: 0 to 9.
    pub fraction_digits: u8,
}

/// A position that grows with the order of changes of one row. Its text sorts like its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sequence {
    /// Debezium PostgreSQL: position of the last commit, position of the change, and false for a delete: a key
    /// change's delete sorts before its insert.
    Postgres { commit: u64, lsn: u64, after_delete: bool },
    /// Debezium MySQL: binlog file number, position, row in the event.
    Binlog { file: u64, pos: u64, row: u64 },
    /// Debezium's other databases with a log: position of the transaction's commit, position of the change, a number
    /// that distinguishes changes at the same position, and false for a delete.
    Log { commit: u128, change: u128, minor: u64, after_delete: bool },
    /// Everything else: the record's partition and offset.
    Offset { partition: i32, offset: i64 },
}

/// Identifies a change, also when it is published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The `id` of the `outhook` format, unique within its account and table.
    ProducerId(Cow<'a, str>),
    /// Debezium's coordinates, as canonical text that never equals the text of another kind.
    Debezium(String),
    /// Topic, partition, offset, and Kafka's timestamp (0 if the record has none). After a topic is deleted and
    /// created again, other records have the same offsets; the timestamp distinguishes them.
    RecordPosition { topic: &'a str, partition: i32, offset: i64, timestamp_ms: i64 },
}

impl EventDate {
    /// Appends the date as RFC 3339 in UTC, with as many digits of the second's fraction as the source sent:
    /// `2023-05-17T12:45:27.528Z`. A year before 0 is written with a sign and six digits (ISO 8601).
    pub fn write(&self, out: &mut String) {
        let utc = Offset::UTC.to_datetime(self.at);
        let mut text = *b"0000-00-00T00:00:00.000000000";
        let mut number = |digits: std::ops::Range<usize>, mut value: u32| {
            for digit in text[digits].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        number(0..4, utc.year().unsigned_abs().into());
        number(5..7, utc.month().unsigned_abs().into());
        number(8..10, utc.day().unsigned_abs().into());
        number(11..13, utc.hour().unsigned_abs().into());
        number(14..16, utc.minute().unsigned_abs().into());
        number(17..19, utc.second().unsigned_abs().into());
        number(20..29, utc.subsec_nanosecond().unsigned_abs());
        let end = if self.fraction_digits == 0 { 19 } else { 20 + usize::from(self.fraction_digits.min(9)) };
        if utc.year() < 0 {
            out.push_str("-00");
        }
        out.push_str(std::str::from_utf8(&text[..end]).expect("the text is ASCII"));
        out.push('Z');
    }
}

impl fmt::Display for EventDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

impl Sequence {
    /// Parses the text that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        match text.split('-').collect::<Vec<_>>()[..] {
            [partition, offset] => Some(Sequence::Offset {
                partition: i32::try_from(number(partition)?).ok()?,
                offset: i64::try_from(number(offset)?).ok()?,
            }),
            [commit, lsn, after_delete @ ("0" | "1")] => Some(Sequence::Postgres {
                commit: number(commit)?,
                lsn: number(lsn)?,
                after_delete: after_delete == "1",
            }),
            [commit, change, minor, after_delete @ ("0" | "1")] => {
                let number = |text| u128::from_str_radix(text, 16).ok();
                Some(Sequence::Log {
                    commit: number(commit)?,
                    change: number(change)?,
                    minor: u64::from_str_radix(minor, 16).ok()?,
                    after_delete: after_delete == "1",
                })
            }
            [file, pos, row] => Some(Sequence::Binlog { file: number(file)?, pos: number(pos)?, row: number(row)? }),
            _ => None,
        }
    }
}

/// Hexadecimal of fixed width, because then texts sort like values.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sequence::Postgres { commit, lsn, after_delete } => {
                write!(f, "{commit:016x}-{lsn:016x}-{}", u8::from(*after_delete))
            }
            Sequence::Binlog { file, pos, row } => write!(f, "{file:016x}-{pos:016x}-{row:016x}"),
            Sequence::Log { commit, change, minor, after_delete } => {
                write!(f, "{commit:032x}-{change:032x}-{minor:016x}-{}", u8::from(*after_delete))
            }
            Sequence::Offset { partition, offset } => write!(f, "{partition:08x}-{offset:016x}"),
        }
    }
}

impl Identity<'_> {
    /// Appends the bytes that message ids are made of: equal for the same change, different for any other change of
    /// its account and table. They must never change, because then changes that are sent again would get new ids.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Identity::ProducerId(id) => {
                out.push(b'g');
                out.extend_from_slice(id.as_bytes());
            }
            Identity::Debezium(coordinates) => {
                out.push(b'd');
                out.extend_from_slice(coordinates.as_bytes());
            }
            Identity::RecordPosition { topic, partition, offset, timestamp_ms } => {
                if *timestamp_ms == 0 {
                    out.push(b'p');
                } else {
                    out.push(b't');
                    out.extend_from_slice(&timestamp_ms.to_be_bytes());
                }
                out.extend_from_slice(&partition.to_be_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(topic.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_of_duplicate_fields_wins_in_rows_of_any_size() {
        for count in [2, 4, MAX_LINEAR_SCAN_FIELDS, MAX_LINEAR_SCAN_FIELDS + 2, 300, 1000] {
            // The first and the last field have the same name.
            let name = |index: usize| format!("field{}", index % (count - 1));
            let field = |index: usize| Field { name: name(index).into(), value: Value::new(index.to_string()) };
            let row = Row::new((0..count).map(field).collect());
            let indexes: Vec<&str> = row.fields.iter().map(|field| &*field.value.json).collect();
            assert_eq!(indexes, (1..count).map(|index| index.to_string()).collect::<Vec<_>>(), "{count}");
            assert!((1..count).all(|index| row.get(&name(index)).unwrap().json == index.to_string()), "{count}");
            assert!(row.get("").is_none() && row.get("field").is_none() && row.get("g").is_none());
        }
    }
}
