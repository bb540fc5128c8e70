//! Recognises rows of the connector's signal table, which are published like row changes although no webhook wants
//! them.

use super::{Envelope, Source};
use crate::decode::json;

/// Whether the row is a signal. If the settings name a signal table, its rows are signals. Otherwise a signal has the
/// fields that Debezium prescribes (`id`, `type`, `data`) and a type that only a signal has.
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
