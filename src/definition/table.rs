//! A declared table: the facts about its fields that the stream can't show.

use serde::{Deserialize, Serialize};

use super::{FieldType, Stamp};
use crate::id::{AccountId, TableId};

/// A table's declaration. It need not name every field: the stream shows the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Derived from the account and the name, so that a table is declared once.
    pub id: TableId,
    pub account: AccountId,
    pub name: String,
    /// In display order.
    pub fields: Vec<TableField>,
    /// 1 at creation, and one more with each change.
    #[serde(default = "super::webhook::first")]
    pub version: u32,
    pub created: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Stamp>,
}

/// A field's declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableField {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// Name for people. Defaults to the field's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub unique: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    #[serde(default = "super::webhook::yes", skip_serializing_if = "is_true")]
    pub editable: bool,
}

impl Table {
    /// The fields that default payloads omit.
    pub fn passwords(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|field| field.is_password()).map(|field| field.name.as_str())
    }

    pub fn field(&self, name: &str) -> Option<&TableField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl TableField {
    pub fn is_password(&self) -> bool {
        self.kind == FieldType::Password
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_true(value: &bool) -> bool {
    *value
}
