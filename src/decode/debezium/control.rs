//! Records that a connector writes about itself: they have no `op`.

use crate::decode::row::Row;
use crate::decode::{Ignored, json};

/// The kind of a record without `op`; None if connectors do not write such a record.
pub(super) fn kind(text: &str) -> Option<Ignored> {
    let record = json::row(text)?;
    match record.get("payload") {
        Some(payload) if record.get("schema").is_some() => classify(&json::row(&payload.json)?),
        _ => classify(&record),
    }
}

fn classify(record: &Row<'_>) -> Option<Ignored> {
    let has = |name| record.get(name).is_some();
    if has("ts_ms") && record.fields.iter().all(|field| field.name.starts_with("ts_")) {
        return Some(Ignored::Heartbeat);
    }
    let status = record.get("status").map_or("", |value| &value.json);
    if matches!(status, r#""BEGIN""# | r#""END""#) && has("id") && has("event_count") {
        return Some(Ignored::Transaction);
    }
    // MySQL's: `ddl` together with its effect or its database.
    (has("ddl") && (has("tableChanges") || has("databaseName"))).then_some(Ignored::SchemaChange)
}
