//! Known fields of one table, and their form in a record. Pure.
//!
//! Schemas are merged, never replaced: fields by name, each with the kinds of values seen, the first position in a row
//! and the last time seen. So the order and the number of merges do not matter.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::type_inference::ValueKinds;
use super::{CatalogueField, MAX_NAME};
use crate::decode::Row;

/// Max fields known of one table.
pub(in crate::catalogue) const MAX_FIELDS: usize = 1_000;

/// Known fields of a table.
#[derive(Debug, Default)]
pub(in crate::catalogue) struct TableSchema {
    fields: HashMap<Box<str>, SeenField>,
    /// Time when the table was last seen, in milliseconds since 1970.
    pub last_seen: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeenField {
    kinds: ValueKinds,
    position: usize,
    last_seen: i64,
}

/// Result of merging a row or a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalogue) struct MergeResult {
    /// Something is known that was not known before. A later time does not count.
    pub is_new: bool,
    /// There was room for every field.
    pub all_fit: bool,
}

/// Value of a table's record. Unknown keys of a newer version are ignored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableRecord {
    last_seen: i64,
    fields: BTreeMap<String, FieldRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldRecord {
    /// Names of types. Texts, so that types of a newer version can be skipped.
    kinds: Vec<String>,
    #[serde(rename = "place")]
    position: usize,
    last_seen: i64,
}

impl TableSchema {
    /// Merges the fields of a row. `room` is called before each new field.
    pub fn scan_row(&mut self, row: &Row<'_>, now: i64, room: impl Fn() -> bool) -> MergeResult {
        let mut joined = MergeResult { is_new: false, all_fit: true };
        self.last_seen = self.last_seen.max(now);
        for (position, field) in row.fields.iter().enumerate() {
            // The placeholder of a value that was not sent does not show the kind of the value.
            let kinds = if field.value.available { ValueKinds::of(&field.value.json) } else { ValueKinds::default() };
            self.merge_field(&field.name, SeenField { kinds, position, last_seen: now }, &room, &mut joined);
        }
        joined
    }

    /// Merges what another instance knows.
    pub fn merge(&mut self, other: &TableSchema, room: impl Fn() -> bool) -> MergeResult {
        let mut joined = MergeResult { is_new: false, all_fit: true };
        self.last_seen = self.last_seen.max(other.last_seen);
        for (name, seen) in &other.fields {
            self.merge_field(name, *seen, &room, &mut joined);
        }
        joined
    }

    fn merge_field(&mut self, name: &str, new: SeenField, room: impl Fn() -> bool, joined: &mut MergeResult) {
        let is_allowed = self.fields.len() < MAX_FIELDS && name.len() <= MAX_NAME;
        match self.fields.get_mut(name) {
            Some(seen) => {
                joined.is_new |= !seen.kinds.has(new.kinds) || new.position < seen.position;
                *seen = seen.joined_with(new);
            }
            None if is_allowed && room() => {
                self.fields.insert(name.into(), new);
                joined.is_new = true;
            }
            None => joined.all_fit = false,
        }
    }

    /// Whether `other` lacks something of this schema. Times do not count.
    pub fn has_more_than(&self, other: &TableSchema) -> bool {
        self.fields.iter().any(|(name, seen)| {
            other.fields.get(name).is_none_or(|other| !other.kinds.has(seen.kinds) || seen.position < other.position)
        })
    }

    /// Fields in the order of the rows. Fields seen in the same position are sorted by name.
    pub fn fields(&self) -> Vec<CatalogueField> {
        let mut fields: Vec<(&str, &SeenField)> = self.fields.iter().map(|(name, seen)| (&**name, seen)).collect();
        fields.sort_unstable_by_key(|(name, seen)| (seen.position, *name));
        let field = |name: &str, seen: &SeenField| CatalogueField {
            name: name.to_owned(),
            kind: seen.kinds.inferred_type(),
            last_seen_ms: seen.last_seen,
        };
        fields.into_iter().map(|(name, seen)| field(name, seen)).collect()
    }

    /// Value of the record.
    pub fn write(&self) -> String {
        let field = |seen: &SeenField| {
            let kinds = seen.kinds.names().map(str::to_owned).collect();
            FieldRecord { kinds, position: seen.position, last_seen: seen.last_seen }
        };
        let fields = self.fields.iter().map(|(name, seen)| (name.to_string(), field(seen))).collect();
        let record = TableRecord { last_seen: self.last_seen, fields };
        serde_json::to_string(&record).expect("texts and numbers are JSON")
    }
}

impl SeenField {
    fn joined_with(self, other: Self) -> Self {
        Self {
            kinds: self.kinds.union(other.kinds),
            position: self.position.min(other.position),
            last_seen: self.last_seen.max(other.last_seen),
        }
    }
}

/// Parses the value of a record.
///
/// # Errors
/// The value is not that of a table's record.
pub(in crate::catalogue) fn read(value: &[u8]) -> serde_json::Result<TableSchema> {
    let record: TableRecord = serde_json::from_slice(value)?;
    let field = |(name, field): (String, FieldRecord)| {
        let kinds = field.kinds.iter().fold(ValueKinds::default(), |kinds, name| kinds.with_name(name));
        (name.into_boxed_str(), SeenField { kinds, position: field.position, last_seen: field.last_seen })
    };
    Ok(TableSchema { fields: record.fields.into_iter().map(field).collect(), last_seen: record.last_seen })
}
