//! `tables`: the tables and fields that are known, as Caspio's API names their types.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Api;
use super::super::error::ApiError;
use super::super::oauth::Caller;

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

/// A field. What nobody has declared is as the stream shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Field)]
pub(super) struct Field {
    name: String,
    /// STRING, TEXT, NUMBER, INTEGER, YES/NO, DATE/TIME, GUID and so on.
    #[serde(rename = "Type")]
    #[schema(example = "STRING")]
    kind: &'static str,
    label: String,
    description: String,
    unique: bool,
    required: bool,
    editable: bool,
}

/// List the tables that were seen in the stream.
#[utoipa::path(get, path = "/tables", tag = "Tables", operation_id = "listTables",
    responses((status = 200, body = Tables)))]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Json<Tables> {
    Json(Tables { result: api.catalogue.tables(caller.account.as_str()) })
}

/// List a table's fields with the types of their values.
#[utoipa::path(get, path = "/tables/{table}/fields", tag = "Tables", operation_id = "listFields",
    params(("table" = String, Path)), responses((status = 200, body = Fields)))]
pub(super) async fn fields(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(table): Path<String>,
) -> Result<Json<Fields>, ApiError> {
    let fields = api.catalogue.fields(caller.account.as_str(), &table).ok_or_else(|| {
        ApiError::not_found(format!("there is no table {table:?}: no row change of it was seen in the last 31 days"))
    })?;
    let shown = |field: crate::catalogue::Field| Field {
        label: field.name.clone(),
        name: field.name,
        kind: field.kind.as_str(),
        description: String::new(),
        unique: false,
        required: false,
        editable: true,
    };
    Ok(Json(Fields { result: fields.into_iter().map(shown).collect() }))
}
