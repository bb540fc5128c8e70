//! `tables`: tables and fields that are declared or were seen in the stream, with the type names of Caspio's API.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Api;
use super::super::error::ApiError;
use super::super::oauth::Caller;
use crate::catalogue;
use crate::definition::{Table, TableField};

/// The names of tables.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tables {
    #[schema(example = json!(["Admins", "MyCustomers"]))]
    result: Vec<String>,
}

/// The fields of a table.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Fields {
    result: Vec<Field>,
}

/// A field, as it is declared, or else as it was seen in the stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Field)]
pub(super) struct Field {
    name: String,
    /// STRING, TEXT, PASSWORD, NUMBER, INTEGER, YES/NO, DATE/TIME, GUID and so on.
    #[serde(rename = "Type")]
    #[schema(example = "STRING")]
    kind: &'static str,
    label: String,
    description: String,
    unique: bool,
    required: bool,
    editable: bool,
}

/// List the tables that are declared or were seen in the stream.
#[utoipa::path(get, path = "/tables", tag = "Tables", operation_id = "listTables",
    responses((status = 200, description = "The names.", body = Tables)))]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Json<Tables> {
    let mut tables: BTreeSet<String> = api.catalogue.tables(caller.account.as_str()).into_iter().collect();
    api.store.with(|definitions| {
        tables.extend(definitions.tables_of(&caller.account).map(|table| table.name.clone()));
    });
    Json(Tables { result: tables.into_iter().collect() })
}

/// List a table's fields: first the declared ones, then others that were seen, with the types of their values.
#[utoipa::path(get, path = "/tables/{table}/fields", tag = "Tables", operation_id = "listFields",
    params(("table" = String, Path)), responses((status = 200, description = "The fields.", body = Fields)))]
pub(super) async fn fields(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(table): Path<String>,
) -> Result<Json<Fields>, ApiError> {
    let declared = api.store.with(|definitions| definitions.table(&caller.account, &table).cloned());
    let seen = api.catalogue.fields(caller.account.as_str(), &table);
    if declared.is_none() && seen.is_none() {
        return Err(ApiError::not_found(format!(
            "there is no table {table:?}: it is not declared, and no row change of it was seen in the last 31 days"
        )));
    }
    Ok(Json(Fields { result: merge_fields(declared.as_ref(), seen.unwrap_or_default()) }))
}

/// The declared fields in their order, then the others that were seen.
fn merge_fields(declared: Option<&Table>, seen: Vec<catalogue::CatalogueField>) -> Vec<Field> {
    let declared = declared.map_or(&[][..], |table| &table.fields);
    let names: HashSet<&str> = declared.iter().map(|field| field.name.as_str()).collect();
    let others = seen.into_iter().filter(|field| !names.contains(field.name.as_str())).map(Field::from_catalogue);
    declared.iter().map(Field::from_declaration).chain(others).collect()
}

impl Field {
    fn from_declaration(field: &TableField) -> Self {
        Self {
            name: field.name.clone(),
            kind: field.kind.as_str(),
            label: field.label.clone().unwrap_or_else(|| field.name.clone()),
            description: field.description.clone().unwrap_or_default(),
            unique: field.unique,
            required: field.required,
            editable: field.editable,
        }
    }

    fn from_catalogue(field: catalogue::CatalogueField) -> Self {
        Self {
            label: field.name.clone(),
            name: field.name,
            kind: field.kind.as_str(),
            description: String::new(),
            unique: false,
            required: false,
            editable: true,
        }
    }
}
