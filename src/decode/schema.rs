//! Connect schemas (`schemas.enable=true`): the type of each field of a row, compiled once per schema. With the
//! types, values are written as people expect them: decimals as numbers, dates and times as ISO 8601, in columns and
//! inside structs, arrays and maps.
//!
//! A value that does not fit its type, such as null or text in a column of numbers, stays unchanged.

mod decimal;
mod temporal;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::temporal::Unit;
use super::json;
use super::row::{Row, Value};

/// Max schemas cached per partition. A partition has one schema at a time, and a few when its table is altered.
const MAX_CACHED_SCHEMAS: usize = 8;

/// Cached schemas, the last used one first.
#[derive(Default)]
pub(super) struct SchemaCache(Vec<Schema>);

impl SchemaCache {
    /// The payload of a message that begins with the last used schema, without parsing that schema again.
    pub(super) fn payload<'t>(&self, message: &'t str) -> Option<&'t str> {
        let rest = message.strip_prefix(r#"{"schema":"#)?.strip_prefix(&*self.0.first()?.text)?;
        rest.strip_prefix(r#","payload":"#)?.strip_suffix('}')
    }

    /// The last used schema.
    pub(super) fn last(&self) -> Option<&Schema> {
        self.0.first()
    }

    /// Makes the schema the last used one; compiles it if it is new.
    pub(super) fn set_last_used(&mut self, text: &str) {
        match self.0.iter().position(|schema| *schema.text == *text) {
            Some(at) => self.0[..=at].rotate_right(1),
            None => {
                self.0.truncate(MAX_CACHED_SCHEMAS - 1);
                self.0.insert(0, Schema::compile(text));
            }
        }
    }
}

/// The compiled columns of a table.
pub(super) struct Schema {
    text: Box<str>,
    columns: SchemaFields,
}

impl Schema {
    /// Compiles an envelope's schema. One of another shape has no columns, and values stay unchanged.
    fn compile(text: &str) -> Self {
        let envelope: SchemaNode = serde_json::from_str(text).unwrap_or_default();
        let row = |side| envelope.fields.iter().find(|node| node.field == side);
        let columns = row("after").or_else(|| row("before")).map_or(&[][..], |row| &row.fields);
        Self { text: text.into(), columns: SchemaFields::of(columns) }
    }

    /// Rewrites the row's values according to their types.
    pub(super) fn apply(&self, row: &mut Row<'_>) {
        self.columns.apply(row);
    }
}

/// The fields of a row or struct, in the schema's order.
struct SchemaFields {
    fields: Box<[(Box<str>, ColumnRewrite)]>,
    /// Index of each field by name, for rows in another order.
    by_name: HashMap<Box<str>, usize>,
}

impl SchemaFields {
    fn of(nodes: &[SchemaNode]) -> Self {
        let fields: Box<[(Box<str>, ColumnRewrite)]> =
            nodes.iter().map(|node| (node.field.as_str().into(), ColumnRewrite::of(node))).collect();
        let by_name = fields.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
        Self { fields, by_name }
    }

    fn apply(&self, row: &mut Row<'_>) {
        for (at, field) in row.fields.iter_mut().enumerate() {
            let here = self.fields.get(at).filter(|(name, _)| **name == field.name);
            let found = here.or_else(|| self.fields.get(*self.by_name.get(&*field.name)?));
            if let Some((_, kind)) = found
                && field.value.available
            {
                kind.apply(&mut field.value);
            }
        }
    }
}

/// A schema's node, as JsonConverter writes it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct SchemaNode {
    field: String,
    name: Option<String>,
    /// Of a struct.
    fields: Vec<SchemaNode>,
    /// Of an array.
    items: Option<Box<SchemaNode>>,
    /// Of a map.
    keys: Option<Box<SchemaNode>>,
    values: Option<Box<SchemaNode>>,
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Parameters {
    scale: Option<String>,
}

/// How a column's values are rewritten.
enum ColumnRewrite {
    Unchanged,
    /// Base64 of the unscaled value.
    Decimal {
        scale: i32,
    },
    /// An object of the scale and the unscaled value.
    VariableScaleDecimal,
    /// Days since 1970.
    Date,
    Time(Unit),
    Timestamp(Unit),
    JsonText,
    Array(Box<ColumnRewrite>),
    Struct(SchemaFields),
    Map {
        keys: Box<ColumnRewrite>,
        values: Box<ColumnRewrite>,
    },
}

impl ColumnRewrite {
    /// Chosen by the schema's name: Debezium's semantic types and Connect's logical types.
    /// <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-data-types>
    fn of(node: &SchemaNode) -> Self {
        match node.name.as_deref().unwrap_or_default() {
            "org.apache.kafka.connect.data.Decimal" => {
                let scale = node.parameters.scale.as_deref().and_then(|scale| scale.parse().ok());
                scale.map_or(Self::Unchanged, |scale| Self::Decimal { scale })
            }
            "io.debezium.data.VariableScaleDecimal" => Self::VariableScaleDecimal,
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Self::Date,
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => Self::Time(Unit::Milli),
            "io.debezium.time.MicroTime" => Self::Time(Unit::Micro),
            "io.debezium.time.NanoTime" => Self::Time(Unit::Nano),
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => Self::Timestamp(Unit::Milli),
            "io.debezium.time.MicroTimestamp" => Self::Timestamp(Unit::Micro),
            "io.debezium.time.NanoTimestamp" => Self::Timestamp(Unit::Nano),
            "io.debezium.data.Json" => Self::JsonText,
            _ => Self::of_parts(node),
        }
    }

    /// The rewrite of an array, map or struct; `Unchanged` if no part of it is rewritten.
    fn of_parts(node: &SchemaNode) -> Self {
        if let Some(items) = node.items.as_deref().map(Self::of).filter(Self::changes_values) {
            return Self::Array(Box::new(items));
        }
        if let (Some(keys), Some(values)) = (node.keys.as_deref(), node.values.as_deref()) {
            let (keys, values) = (Box::new(Self::of(keys)), Box::new(Self::of(values)));
            let rewrites = keys.changes_values() || values.changes_values();
            return if rewrites { Self::Map { keys, values } } else { Self::Unchanged };
        }
        let fields = SchemaFields::of(&node.fields);
        if fields.fields.iter().any(|(_, kind)| kind.changes_values()) { Self::Struct(fields) } else { Self::Unchanged }
    }

    fn changes_values(&self) -> bool {
        !matches!(self, Self::Unchanged | Self::JsonText)
    }

    fn apply(&self, value: &mut Value<'_>) {
        if matches!(self, Self::JsonText) {
            value.json_text = true;
        } else if let Some(rewritten) = self.rewrite(&value.json) {
            value.json = Cow::Owned(rewritten);
        }
    }

    /// The rewritten JSON text; None if the value stays unchanged, as null does.
    fn rewrite(&self, json: &str) -> Option<String> {
        match self {
            Self::Unchanged | Self::JsonText => None,
            Self::Decimal { scale } => decimal::number(&json::string(json)?, *scale),
            Self::VariableScaleDecimal => variable_scale_decimal(json),
            Self::Date => Some(temporal::date(json.parse().ok()?)),
            Self::Time(unit) => Some(temporal::time(json.parse().ok()?, *unit)),
            Self::Timestamp(unit) => Some(temporal::timestamp(json.parse().ok()?, *unit)),
            Self::Array(items) => array(json, |item| items.rewrite(item)),
            Self::Struct(fields) => object(json, |row| fields.apply(row)),
            Self::Map { keys, values } => map(keys, values, json),
        }
    }
}

fn variable_scale_decimal(json: &str) -> Option<String> {
    // Every type allows null, and null is the usual value that is not an object.
    if !json.starts_with('{') {
        return None;
    }
    let scaled = json::row(json)?;
    decimal::number(&json::string(&scaled.get("value")?.json)?, scaled.get("scale")?.json.parse().ok()?)
}

fn array(json: &str, rewrite: impl Fn(&str) -> Option<String>) -> Option<String> {
    if !json.starts_with('[') {
        return None;
    }
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let mut rewritten = String::with_capacity(json.len() + 2);
    for element in elements {
        rewritten.push(if rewritten.is_empty() { '[' } else { ',' });
        match rewrite(element.get()) {
            Some(element) => rewritten.push_str(&element),
            None => rewritten.push_str(element.get()),
        }
    }
    if rewritten.is_empty() {
        return None;
    }
    rewritten.push(']');
    Some(rewritten)
}

fn object(json: &str, rewrite: impl Fn(&mut Row<'_>)) -> Option<String> {
    if !json.starts_with('{') {
        return None;
    }
    let mut row = json::row(json)?;
    rewrite(&mut row);
    let mut rewritten = String::with_capacity(json.len() + 32);
    for field in &row.fields {
        rewritten.push_str(if rewritten.is_empty() { "{\"" } else { ",\"" });
        field.write_name(&mut rewritten);
        rewritten.push_str("\":");
        rewritten.push_str(&field.value.json);
    }
    if rewritten.is_empty() {
        return None;
    }
    rewritten.push('}');
    Some(rewritten)
}

/// Rewrites a map. JsonConverter writes a map with string keys as an object, any other as an array of pairs.
fn map(keys: &ColumnRewrite, values: &ColumnRewrite, json: &str) -> Option<String> {
    if json.starts_with('{') {
        return object(json, |row| row.fields.iter_mut().for_each(|field| values.apply(&mut field.value)));
    }
    array(json, |entry| {
        let [key, value]: [&RawValue; 2] = serde_json::from_str(entry).ok()?;
        let part =
            |kind: &ColumnRewrite, json: &RawValue| kind.rewrite(json.get()).unwrap_or_else(|| json.get().to_owned());
        Some(format!("[{},{}]", part(keys, key), part(values, value)))
    })
}

#[cfg(test)]
mod tests;
