//! A decoded row change: what every format becomes.

mod repeated;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::Offset;

use super::settings::UnknownChange;
use crate::json;
use crate::vocabulary::{EventSource, Operation};

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
    /// Of a delete's `before` only the key fields are believed, because the others may be filler or were not sent at all.
    pub trimmed: bool,
    /// What the source wants of an update without `before`.
    pub unknown_change: UnknownChange,
}

impl<'a> RowChange<'a> {
    /// The row that a message sends: the deleted row's values for a delete, the new ones otherwise.
    pub fn sent_row(&self) -> Option<&Row<'a>> {
        match self.operation {
            Operation::Delete => self.before.as_ref(),
            Operation::Insert | Operation::Update => self.after.as_ref(),
        }
    }

    /// A field's value as it is sent: an unavailable one takes `before`'s value, else there is none.
    pub fn sent_value(&self, name: &str) -> Option<&Value<'a>> {
        let value = self.sent_row()?.get(name)?;
        if value.available { Some(value) } else { self.before_value(name) }
    }

    /// The fields that a default payload sends, in the row's order; an unavailable one takes `before`'s value, else it is left out.
    pub fn sent_fields(&self) -> impl Iterator<Item = (&Field<'a>, &Value<'a>)> {
        self.sent_row().into_iter().flat_map(|row| &row.fields).filter_map(|field| {
            let value = if field.value.available { Some(&field.value) } else { self.before_value(&field.name) };
            value.map(|value| (field, value))
        })
    }

    /// The fields of which the source did not send the value: the sent row names them, and neither row has it.
    pub fn missing_fields(&self) -> impl Iterator<Item = &Field<'a>> {
        let fields = self.sent_row().into_iter().flat_map(|row| &row.fields);
        fields.filter(|field| !field.value.available && self.before_value(&field.name).is_none())
    }

    fn before_value(&self, name: &str) -> Option<&Value<'a>> {
        self.before.as_ref()?.get(name).filter(|value| value.available)
    }
}

impl Operation {
    /// The complaint about a change that lacks the row its messages would send.
    pub(super) fn missing_row(self) -> String {
        match self {
            Operation::Insert | Operation::Update => format!("`after` is missing: an {self} needs the new row"),
            Operation::Delete => "`before` is missing: a delete needs the deleted row".to_owned(),
        }
    }
}

/// A row's fields in the order in which the source wrote them, each name once.
#[derive(Debug, Default)]
pub struct Row<'a> {
    pub fields: Vec<Field<'a>>,
    /// Places of the fields by name; made for the first that is looked up among many.
    by_name: OnceLock<Box<[u32]>>,
}

/// Among more fields than this one is looked up in an index: each field of a row may be looked up.
const MANY: usize = 32;

impl<'a> Row<'a> {
    /// Of two fields with one name the last counts, as JSON readers have it, and the first is dropped. Dropped here,
    /// it is neither matched nor sent anywhere.
    pub fn new(mut fields: Vec<Field<'a>>) -> Self {
        repeated::drop_all_but_the_last(&mut fields);
        Self { fields, by_name: OnceLock::new() }
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        if self.fields.len() <= MANY {
            return self.fields.iter().find(|field| field.name == name).map(|field| &field.value);
        }
        let by_name = self.by_name.get_or_init(|| repeated::sorted_by_name(&self.fields));
        debug_assert_eq!(by_name.len(), self.fields.len(), "fields change no more once one was looked up");
        let place = by_name.binary_search_by(|place| (*self.fields[*place as usize].name).cmp(name)).ok()?;
        Some(&self.fields[by_name[place] as usize].value)
    }
}

#[derive(Debug)]
pub struct Field<'a> {
    /// Decoded: escapes resolved. A borrowed name may be written between quotes as it is: it had none, or one of them is
    /// half a surrogate pair, which no text can hold; then all of them stand as they came.
    pub name: Cow<'a, str>,
    pub value: Value<'a>,
}

impl Field<'_> {
    /// Appends the name as it stands between the quotes of a JSON key.
    pub fn write_name(&self, out: &mut String) {
        match &self.name {
            Cow::Borrowed(plain) => out.push_str(plain),
            Cow::Owned(decoded) => json::escape(decoded, out),
        }
    }
}

/// A field's value as JSON text, never parsed further than it must be.
#[derive(Debug)]
pub struct Value<'a> {
    /// Valid JSON text of one value, without white space around it. An escape in it may be a lone surrogate,
    /// which JSON's grammar allows and Unicode does not.
    pub json: Cow<'a, str>,
    /// False for a value that the source did not send: PostgreSQL's unchanged TOAST, and what may be filler in a delete.
    pub available: bool,
    /// The value is a string that holds JSON text (a json column): its white space and key order do not count as a change.
    pub json_text: bool,
}

impl<'a> Value<'a> {
    pub fn new(json: impl Into<Cow<'a, str>>) -> Self {
        Self { json: json.into(), available: true, json_text: false }
    }
}

/// When the change was made in its source, as precise as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventDate {
    pub at: Timestamp,
    /// Digits of the second's fraction that the source gave: 0 to 9.
    pub digits: u8,
}

/// Grows with the order of changes of one row; its text compares like its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sequence {
    /// Debezium PostgreSQL: the last commit's position, the record's own, and false for a delete: a key
    /// change's delete goes before its create.
    Postgres { commit: u64, lsn: u64, after_delete: bool },
    /// Debezium MySQL: binlog file number, position, row in the event.
    Binlog { file: u64, pos: u64, row: u64 },
    /// Debezium's other databases that write a log, by what their positions are made of: the transaction's commit, the
    /// change, what tells apart changes of one position, and false for a delete.
    Log { commit: u128, change: u128, minor: u64, after_delete: bool },
    /// Everything else: the record's place in its partition.
    Offset { partition: i32, offset: i64 },
}

/// What makes a change the same change when it is published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The `outhook` format's own `id`, within its account and table.
    Given(Cow<'a, str>),
    /// Debezium's coordinates, as canonical text that other kinds can't collide with.
    Debezium(String),
    /// Topic, partition, offset, and Kafka's timestamp (0 if the record has none): in a topic that is deleted and made
    /// anew, other records come to stand at the same offsets.
    Place { topic: &'a str, partition: i32, offset: i64, timestamp_ms: i64 },
}

impl EventDate {
    /// Appends it as RFC 3339 in UTC, with as many digits of the second's fraction as the source gave:
    /// `2023-05-17T12:45:27.528Z`. A year before 0 is written with a sign and six digits (ISO 8601).
    pub fn write(&self, out: &mut String) {
        let utc = Offset::UTC.to_datetime(self.at);
        let mut text = *b"0000-00-00T00:00:00.000000000";
        let mut number = |place: std::ops::Range<usize>, mut value: u32| {
            for digit in text[place].iter_mut().rev() {
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
        let end = if self.digits == 0 { 19 } else { 20 + usize::from(self.digits.min(9)) };
        if utc.year() < 0 {
            out.push_str("-00");
        }
        out.push_str(std::str::from_utf8(&text[..end]).expect("it holds only digits and their marks"));
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
    /// Reads what its `Display` writes.
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

/// Hexadecimal of fixed width, so that texts compare like values.
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
    /// Appends the bytes that message ids are made of: equal for the same change, different for any other
    /// of its account and table. They must never change, or changes sent again would get new ids.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Identity::Given(id) => {
                out.push(b'g');
                out.extend_from_slice(id.as_bytes());
            }
            Identity::Debezium(coordinates) => {
                out.push(b'd');
                out.extend_from_slice(coordinates.as_bytes());
            }
            Identity::Place { topic, partition, offset, timestamp_ms } => {
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
    fn of_two_fields_with_one_name_the_last_counts_however_many_there_are() {
        for count in [2, 4, MANY, MANY + 2, 300, 1000] {
            // The first and the last have one name.
            let name = |place: usize| format!("field{}", place % (count - 1));
            let field = |place: usize| Field { name: name(place).into(), value: Value::new(place.to_string()) };
            let row = Row::new((0..count).map(field).collect());
            let places: Vec<&str> = row.fields.iter().map(|field| &*field.value.json).collect();
            assert_eq!(places, (1..count).map(|place| place.to_string()).collect::<Vec<_>>(), "{count}");
            assert!((1..count).all(|place| row.get(&name(place)).unwrap().json == place.to_string()), "{count}");
            assert!(row.get("").is_none() && row.get("field").is_none() && row.get("g").is_none());
        }
    }
}
