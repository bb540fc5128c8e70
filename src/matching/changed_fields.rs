//! Finds the fields of a row that really changed.

use super::json_eq;
use crate::decode::{Field, Row, RowChange, Value};

/// How a field's old value compares with its new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Two values that differ.
    Changed,
    /// There is a new value, but the source did not send the old row.
    Unknown,
    /// Two equal values, perhaps in different spellings.
    Same,
    /// The source did not send the value, because it did not change.
    Unavailable,
    /// The field is in one of the rows only: the row's shape changed, not the field's value.
    OneSided,
    /// Neither row has the field.
    Absent,
}

impl Comparison {
    /// Whether the field's value changed, or may have changed because the old row is unknown.
    pub fn may_have_changed(self) -> bool {
        matches!(self, Comparison::Changed | Comparison::Unknown)
    }
}

/// Compares one field of an update.
pub(super) fn compare(change: &RowChange<'_>, field: &str) -> Comparison {
    let new = change.after.as_ref().and_then(|row| row.get(field));
    let Some(before) = &change.before else {
        return match new {
            Some(new) if new.available => Comparison::Unknown,
            Some(_) => Comparison::Unavailable,
            None => Comparison::Absent,
        };
    };
    match (before.get(field), new) {
        (Some(old), Some(new)) if !old.available || !new.available => Comparison::Unavailable,
        (Some(old), Some(new)) if same(old, new) => Comparison::Same,
        (Some(_), Some(_)) => Comparison::Changed,
        (None, None) => Comparison::Absent,
        _ => Comparison::OneSided,
    }
}

/// The fields of an update that may have changed, in the new row's order. The iterator is lazy: a caller that only
/// needs to know whether any field changed stops at the first.
pub(super) fn fields<'c>(change: &'c RowChange<'_>) -> impl Iterator<Item = &'c str> {
    let after = change.after.as_ref().map_or(&[][..], |row| &row.fields);
    after.iter().enumerate().filter_map(move |(at, field)| {
        let unchanged_in_place = change.before.as_ref().is_some_and(|before| is_unchanged_in_place(before, at, field));
        let changed = !unchanged_in_place && compare(change, &field.name).may_have_changed();
        changed.then_some(&*field.name)
    })
}

/// Whether the field has the same index and text in both rows, as most fields do. Then it needs no lookup.
fn is_unchanged_in_place(before: &Row<'_>, at: usize, new: &Field<'_>) -> bool {
    before.fields.get(at).is_some_and(|old| old.name == new.name && old.value.json == new.value.json)
}

fn same(old: &Value<'_>, new: &Value<'_>) -> bool {
    old.json == new.json
        || json_eq::same(&old.json, &new.json)
        || ((old.json_text || new.json_text)
            && old.json.starts_with('"')
            && new.json.starts_with('"')
            && json_eq::same_json_text(&old.json, &new.json))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::matching::tests::change;
    use crate::vocabulary::Operation;

    /// Time to find out that an update of this many fields changes nothing.
    fn took(fields: usize, is_reversed: bool) -> Duration {
        let row = |names: &mut dyn Iterator<Item = usize>| {
            let field = |name: usize| Field { name: format!("field{name}").into(), value: Value::new("1") };
            Some(Row::new(names.map(field).collect()))
        };
        let before = if is_reversed { row(&mut (0..fields).rev()) } else { row(&mut (0..fields)) };
        let change = RowChange { before, after: row(&mut (0..fields)), ..change(Operation::Update, None, None) };
        let started = Instant::now();
        assert_eq!(super::fields(&change).count(), 0);
        started.elapsed()
    }

    #[test]
    fn reordered_fields_are_not_compared_in_quadratic_time() {
        const FIELDS: usize = 50_000;
        let least = |is_reversed| (0..3).map(|_| took(FIELDS, is_reversed)).min().unwrap_or_default();
        let (same, other) = (least(false), least(true));
        // Two indexes cost about a hundred times as much as comparing at the same index. A linear scan would cost
        // half of the fields for each field: some thousand times as much.
        assert!(other < same * 1000, "{other:?} instead of {same:?}");
    }
}
