//! Declared tables in a file.

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::without_location;
use crate::definition::{Table, TableField};

/// A declared table in a file, identified by account and name. The file lists all of its declared fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct TableEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    pub name: String,
    pub fields: Vec<Spanned<FieldEntry>>,
}

/// A field of a declared table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct FieldEntry {
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub editable: Option<bool>,
}

impl TableEntry {
    pub(super) fn of(table: &Table) -> Self {
        Self {
            account: Some(table.account.as_str().to_owned()),
            name: table.name.clone(),
            fields: table.fields.iter().map(FieldEntry::of).map(without_location).collect(),
        }
    }
}

impl FieldEntry {
    fn of(field: &TableField) -> Self {
        Self {
            name: field.name.clone(),
            kind: field.kind.as_str().to_owned(),
            label: field.label.clone(),
            description: field.description.clone(),
            unique: field.unique.then_some(true),
            required: field.required.then_some(true),
            editable: (!field.editable).then_some(false),
        }
    }
}
