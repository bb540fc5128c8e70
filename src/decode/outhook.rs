//! The `outhook` format: plain JSON for producers that write their own records.
//!
//! ```json
//! {"id": "42", "account": "acme", "table": "orders", "operation": "update", "source": "RESTAPIs",
//!  "time": "2024-02-29T13:14:15.123Z", "before": {"total": 1}, "after": {"total": 2}}
//! ```
//! Keys may be in any order, and unknown keys are ignored. Only `table`, `operation` and the row that the operation
//! needs are required. `time` may also be whole milliseconds since 1970, `id` a whole number.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::invalid_record::InvalidRecord;
use super::json::{JsonText, NullableRow, ObjectKey, add_field_context};
use super::{DecodeError, Decoded, Decoder, EventDate, Format, Identity, Ignored, Input, Row, RowChange, Sequence};
use super::{Settings, format_detection};
use crate::vocabulary::Operation;

/// The keys of an [`OuthookRecord`]; all others are ignored.
const KNOWN_KEYS: [&str; 8] = ["id", "account", "table", "operation", "source", "time", "before", "after"];

/// The rule for `operation`, as an [`InvalidRecord`] shows it.
const OPERATION_RULE: &str = "be insert, update or delete";

/// The ignored keys of a record, in the record's order. Empty if the value is not a record.
pub(super) fn unknown_keys(value: &[u8]) -> Vec<String> {
    let mut keys = serde_json::from_slice::<KeyNames>(value).map(|names| names.0).unwrap_or_default();
    keys.retain(|key| !KNOWN_KEYS.contains(&key.as_str()));
    keys
}

pub(super) fn decode<'a>(decoder: &Decoder, input: &Input<'a>) -> Result<Decoded<'a>, DecodeError> {
    let Some(text) = input.text(Format::Outhook)? else { return Ok(Decoded::Ignored(Ignored::Tombstone)) };
    serde_json::from_str::<OuthookRecord<'a>>(text)
        .map_err(InvalidRecord::from)
        .and_then(|record| record.into_change(&decoder.settings, input))
        .map(Decoded::Change)
        .map_err(|reason| format_detection::decode_error(Format::Outhook, input, text, &reason))
}

/// The record as parsed. Required keys are checked afterwards.
#[derive(Default)]
struct OuthookRecord<'a> {
    id: Option<Cow<'a, str>>,
    account: Option<Cow<'a, str>>,
    table: Option<Cow<'a, str>>,
    operation: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    time: Option<EventDate>,
    before: Option<Row<'a>>,
    after: Option<Row<'a>>,
}

impl<'a> OuthookRecord<'a> {
    fn into_change(self, settings: &Settings, input: &Input<'a>) -> Result<RowChange<'a>, InvalidRecord> {
        let table = required("table", self.table, "be the table's name")?;
        let operation = operation(&required("operation", self.operation, OPERATION_RULE)?)?;
        let row = match operation {
            Operation::Insert | Operation::Update => &self.after,
            Operation::Delete => &self.before,
        };
        if row.is_none() {
            return Err(InvalidRecord::MissingRow(operation));
        }
        let source = match self.source {
            Some(text) => text.parse().ok(),
            None => settings.event_source(input, self.before.as_ref(), self.after.as_ref()),
        };
        Ok(RowChange {
            account: self.account.unwrap_or_else(|| Cow::Owned(settings.account.as_str().to_owned())),
            table,
            operation,
            source,
            event_date: self.time.unwrap_or_else(|| EventDate::from_kafka(input.timestamp_ms)),
            sequence: Sequence::Offset { partition: input.partition, offset: input.offset },
            identity: self.id.map_or_else(|| input.record_identity(), Identity::ProducerId),
            before: self.before,
            after: self.after,
            trimmed: false,
            unknown_change: settings.unknown_change,
        })
    }
}

fn required<'a>(
    key: &'static str,
    value: Option<Cow<'a, str>>,
    rule: &'static str,
) -> Result<Cow<'a, str>, InvalidRecord> {
    match value {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) => Err(InvalidRecord::Empty { key, rule }),
        None => Err(InvalidRecord::Missing { key, rule }),
    }
}

fn operation(text: &str) -> Result<Operation, InvalidRecord> {
    match text {
        "insert" => Ok(Operation::Insert),
        "update" => Ok(Operation::Update),
        "delete" => Ok(Operation::Delete),
        _ => Err(InvalidRecord::UnknownText { key: "operation", text: text.to_owned(), rule: OPERATION_RULE }),
    }
}

impl<'de> Deserialize<'de> for OuthookRecord<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = OuthookRecord<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `table`, `operation`, `before` and `after`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OuthookRecord<'de>, A::Error> {
        let mut record = OuthookRecord::default();
        while let Some(ObjectKey(name)) = map.next_key()? {
            match &*name {
                "id" => record.id = map.next_value::<Id<'de>>().map_err(add_field_context("id"))?.0,
                "account" => record.account = text("account", &mut map)?.filter(|account| !account.is_empty()),
                "table" => record.table = text("table", &mut map)?,
                "operation" => record.operation = text("operation", &mut map)?,
                "source" => record.source = text("source", &mut map)?,
                "time" => record.time = map.next_value::<Time>().map_err(add_field_context("time"))?.0,
                "before" => {
                    record.before = map.next_value::<NullableRow<'de>>().map_err(add_field_context("before"))?.0
                }
                "after" => record.after = map.next_value::<NullableRow<'de>>().map_err(add_field_context("after"))?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(record)
    }
}

/// The names of an object's keys.
struct KeyNames(Vec<String>);

impl<'de> Deserialize<'de> for KeyNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = KeyNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyNames, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(KeyNames(names))
            }
        }

        deserializer.deserialize_map(Names)
    }
}

fn text<'de, A: MapAccess<'de>>(field: &'static str, map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    let text = map.next_value::<Option<JsonText<'de>>>().map_err(add_field_context(field))?;
    Ok(text.map(|JsonText(text)| text))
}

/// A change's id: text or a whole number.
struct Id<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Id<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor).map(Self)
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a whole number that no other change of the table has")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        if text.is_empty() { self.visit_str(text) } else { Ok(Some(Cow::Borrowed(text))) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() {
            return Err(E::custom("it is empty: set a different id for each change, or omit the key"));
        }
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// When the change was made: RFC 3339 text or whole milliseconds since 1970.
struct Time(Option<EventDate>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor).map(Self)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Option<EventDate>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RFC 3339 text such as 2024-02-29T13:14:15.123Z, or whole milliseconds since 1970")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let date = EventDate::from_rfc3339(text);
        date.map(Some).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, milliseconds: i64) -> Result<Self::Value, E> {
        let date = EventDate::from_milliseconds(milliseconds);
        date.map(Some).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(milliseconds), &self))
    }

    fn visit_u64<E: Error>(self, milliseconds: u64) -> Result<Self::Value, E> {
        self.visit_i64(i64::try_from(milliseconds).unwrap_or(i64::MAX))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
