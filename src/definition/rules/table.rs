//! The rules that a declared table must keep.

use super::{MAX_DESCRIPTION, MAX_FIELDS, MAX_FIELDS_BYTES, MAX_NAME, Violation, at_most, name};
use crate::definition::{Table, TableField};

/// Checks a declared table. [`table_field`] checks each of its fields before.
///
/// # Errors
/// The first rule that the table breaks.
pub fn table(table: &Table) -> Result<(), Violation> {
    name("Account", table.account.as_str())?;
    name("Name", &table.name)?;
    at_most("Fields", table.fields.len(), MAX_FIELDS, "fields")?;
    let bytes = |field: &TableField| {
        let texts = [field.label.as_deref(), field.description.as_deref()];
        field.name.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
    };
    at_most("Fields", table.fields.iter().map(bytes).sum(), MAX_FIELDS_BYTES, "bytes of names, labels and descriptions")
}

/// Checks one field of a declared table.
///
/// # Errors
/// The first rule that the field breaks.
pub fn table_field(field: &TableField) -> Result<(), Violation> {
    name("Name", &field.name)?;
    let characters = |text: &Option<String>| text.as_deref().map_or(0, |text| text.chars().count());
    at_most("Label", characters(&field.label), MAX_NAME, "characters")?;
    at_most("Description", characters(&field.description), MAX_DESCRIPTION, "characters")
}
