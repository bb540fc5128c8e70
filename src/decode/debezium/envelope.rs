//! Parses the envelope in one pass, with its keys in any order.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Source;
use crate::decode::json::{JsonText, NullableRow, ObjectKey, add_field_context};
use crate::decode::row::Row;
use crate::decode::schema::SchemaCache;

/// A record's value.
pub(super) struct RecordValue<'a> {
    /// None for the payload null, which is a tombstone.
    pub envelope: Option<Envelope<'a>>,
    /// The value includes its schema, which is now the last used one of the cache.
    pub has_schema: bool,
}

/// The fields of an envelope that are read. A record without `op` is not a change event.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    pub before: Option<Row<'a>>,
    pub after: Option<Row<'a>>,
    pub source: Option<Source<'a>>,
    pub op: Option<Cow<'a, str>>,
}

/// Reads a record's value with or without its schema.
pub(super) fn read<'a>(text: &'a str, schemas: &mut SchemaCache) -> Result<RecordValue<'a>, serde_json::Error> {
    // A schema is several times as long as its row, and nearly always that of the record before.
    if let Some(payload) = schemas.payload(text)
        && let Ok(envelope) = serde_json::from_str::<Option<Envelope<'a>>>(payload)
    {
        return Ok(RecordValue { envelope, has_schema: true });
    }
    let WrappedEnvelope { schema, envelope } = serde_json::from_str(text)?;
    if let Some(schema) = schema {
        schemas.set_last_used(schema.get());
    }
    Ok(RecordValue { envelope, has_schema: schema.is_some() })
}

/// An envelope alone, or `{"schema": …, "payload": envelope}`.
struct WrappedEnvelope<'a> {
    schema: Option<&'a RawValue>,
    envelope: Option<Envelope<'a>>,
}

impl<'de> Deserialize<'de> for WrappedEnvelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrappedEnvelopeVisitor)
    }
}

struct WrappedEnvelopeVisitor;

impl<'de> Visitor<'de> for WrappedEnvelopeVisitor {
    type Value = WrappedEnvelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change event's envelope, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WrappedEnvelope<'de>, A::Error> {
        let mut schema = None;
        let mut envelope = Some(Envelope::default());
        while let Some(ObjectKey(name)) = map.next_key()? {
            match (&*name, &mut envelope) {
                ("schema", _) => schema = map.next_value()?,
                ("payload", _) => envelope = map.next_value::<Option<Envelope<'de>>>()?,
                (_, Some(envelope)) => envelope.read_field(&name, &mut map)?,
                (_, None) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(WrappedEnvelope { schema, envelope })
    }

    fn visit_unit<E: Error>(self) -> Result<WrappedEnvelope<'de>, E> {
        Ok(WrappedEnvelope { schema: None, envelope: None })
    }
}

impl<'de> Envelope<'de> {
    fn read_field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "before" => self.before = map.next_value::<NullableRow<'de>>().map_err(add_field_context("before"))?.0,
            "after" => self.after = map.next_value::<NullableRow<'de>>().map_err(add_field_context("after"))?.0,
            "source" => self.source = map.next_value().map_err(add_field_context("source"))?,
            "op" => {
                self.op =
                    map.next_value::<Option<JsonText<'de>>>().map_err(add_field_context("op"))?.map(|JsonText(op)| op)
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change event's envelope, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(ObjectKey(name)) = map.next_key()? {
            envelope.read_field(&name, &mut map)?;
        }
        Ok(envelope)
    }
}
