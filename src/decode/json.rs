//! JSON parsed in place: text that needs no unescaping stays a slice of the record.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::row::{Field, Row, Value};
use crate::json;

/// Capacity for the fields of most tables, so that reading a row allocates once.
const TYPICAL_FIELD_COUNT: usize = 16;

/// A string; borrowed if it has no escapes.
#[derive(serde::Deserialize)]
pub(super) struct JsonText<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// An object's key. A key with an escaped unpaired surrogate has no decoded text. It stays as written between its
/// quotes, like a value with such an escape.
pub(super) struct ObjectKey<'a>(pub Cow<'a, str>);

impl<'de> Deserialize<'de> for ObjectKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quoted = <&RawValue>::deserialize(deserializer)?.get();
        Ok(Self(json::unescape(quoted).unwrap_or(Cow::Borrowed(json::between_quotes(quoted)))))
    }
}

/// A row, or null.
pub(super) struct NullableRow<'a>(pub Option<Row<'a>>);

impl<'de> Deserialize<'de> for NullableRow<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowVisitor).map(Self)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Option<Row<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row, which is an object, or null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(TYPICAL_FIELD_COUNT);
        while let Some(ObjectKey(name)) = map.next_key()? {
            let json: &'de RawValue = map.next_value()?;
            fields.push(Field { name, value: Value::new(json.get()) });
        }
        Ok(Some(Row::new(fields)))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    /// The default implementation would quote the text, which may be confidential, in the error.
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::invalid_type(Unexpected::Other("a string"), &self))
    }
}

/// Parses the text as one row; None if it is anything else.
pub(super) fn row(text: &str) -> Option<Row<'_>> {
    serde_json::from_str::<NullableRow<'_>>(text).ok()?.0
}

/// The text of a JSON string; None if the JSON is not a string.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Prefixes an error about a field's value with the field's name; serde_json keeps the line and column.
pub(super) fn add_field_context<E: Error>(field: &str) -> impl FnOnce(E) -> E {
    move |error| E::custom(format_args!("`{field}`: {error}"))
}
