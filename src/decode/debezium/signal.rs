//! The connector's own signal table, whose rows are published with the others though nobody asked for them.

use super::{Envelope, Source};
use crate::decode::json;

/// Whether the row is a signal: of the table that the settings name, or, where they name none, of the shape
/// that Debezium prescribes (`id`, `type`, `data`) and of a type that only a signal has.
/// <https://debezium.io/documentation/reference/stable/configuration/signalling.html>
pub(super) fn is_signal(table: Option<&str>, source: &Source<'_>, envelope: &Envelope<'_>) -> bool {
    match table {
        Some(table) => source.is_table(table),
        None => has_signal_shape(envelope),
    }
}

fn has_signal_shape(envelope: &Envelope<'_>) -> bool {
    let Some(row) = envelope.after.as_ref().or(envelope.before.as_ref()) else { return false };
    let [id, kind, data] = &row.fields[..] else { return false };
    id.name == "id"
        && kind.name == "type"
        && data.name == "data"
        && json::string(&kind.value.json).is_some_and(|kind| {
            matches!(
                &*kind,
                "execute-snapshot"
                    | "stop-snapshot"
                    | "pause-snapshot"
                    | "resume-snapshot"
                    | "snapshot-window-open"
                    | "snapshot-window-close"
            )
        })
}
