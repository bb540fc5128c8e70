//! Declared tables as lines for people.

use std::collections::HashMap;
use std::fmt;

use super::Diff;
use crate::definition::plan::Change;
use crate::definition::{Table, TableField};

impl Diff<'_> {
    pub(super) fn table(&self, f: &mut fmt::Formatter<'_>, change: &Change<Table>) -> fmt::Result {
        let title = |table: &Table| format!("table {:?} in account {:?}", table.name, table.account);
        match change {
            Change::Keep(_) => Ok(()),
            Change::Create(table) => {
                self.line(f, '+', 0, &title(table))?;
                table.fields.iter().try_for_each(|field| self.line(f, '+', 1, &field_text(field)))
            }
            Change::Update { before, after } => {
                self.line(f, '~', 0, &title(after))?;
                self.changed_fields(f, before, after)
            }
            Change::Delete(table) => self.line(f, '-', 0, &title(table)),
        }
    }

    fn changed_fields(&self, f: &mut fmt::Formatter<'_>, before: &Table, after: &Table) -> fmt::Result {
        let (old, new) = (by_name(before), by_name(after));
        for field in before.fields.iter().filter(|field| !new.contains_key(field.name.as_str())) {
            self.line(f, '-', 1, &field_text(field))?;
        }
        for field in after.fields.iter().filter(|field| old.get(field.name.as_str()) != Some(field)) {
            if let Some(before) = old.get(field.name.as_str()) {
                self.line(f, '-', 1, &field_text(before))?;
            }
            self.line(f, '+', 1, &field_text(field))?;
        }
        let common_before = before.fields.iter().filter(|field| new.contains_key(field.name.as_str()));
        let common_after = after.fields.iter().filter(|field| old.contains_key(field.name.as_str()));
        let is_in_order = common_before.map(|field| &field.name).eq(common_after.map(|field| &field.name));
        if is_in_order { Ok(()) } else { self.line(f, '~', 1, "Fields: order changed") }
    }
}

fn by_name(table: &Table) -> HashMap<&str, &TableField> {
    table.fields.iter().map(|field| (field.name.as_str(), field)).collect()
}

/// Describes a field in one line. Settings with their default are omitted.
fn field_text(field: &TableField) -> String {
    let mut text = format!("field {:?}: {}", field.name, field.kind);
    for (holds, word) in [(field.unique, "unique"), (field.required, "required"), (!field.editable, "not editable")] {
        if holds {
            text += &format!(", {word}");
        }
    }
    for (key, value) in [("Label", &field.label), ("Description", &field.description)] {
        if let Some(value) = value {
            text += &format!(", {key} {value:?}");
        }
    }
    text
}
