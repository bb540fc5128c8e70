//! One table of the catalogue, shared by partitions, readers and the writer.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::table_schema::TableSchema;
use super::{CatalogueField, CatalogueUsage, Sample, TABLE_PREFIX};
use crate::decode::Row;
use crate::vocabulary::Operation;

/// Min interval between writes of a table, in milliseconds.
const MIN_WRITE_INTERVAL_MS: i64 = 60 * 1000;
/// A table is also written when its last-seen time has advanced by this many milliseconds.
const LAST_SEEN_WRITE_INTERVAL_MS: i64 = 24 * 60 * MIN_WRITE_INTERVAL_MS;

pub(super) struct CatalogueTable {
    state: Mutex<TableState>,
    usage: Arc<CatalogueUsage>,
}

#[derive(Default)]
struct TableState {
    schema: TableSchema,
    /// Something is known here that other instances may not know.
    is_unwritten: bool,
    /// Time of the last write of the table by this instance, or of the try.
    written_at: Option<i64>,
    /// Last-seen time that other instances know.
    written_last_seen: i64,
    /// Newest record of each operation, and the time when it was taken.
    newest: [Option<Arc<Sample>>; 3],
    sampled_at: [i64; 3],
}

/// A table as a record to write.
pub struct TableWrite {
    pub key: String,
    pub value: String,
    table: Arc<CatalogueTable>,
}

impl TableWrite {
    /// Marks the table as unwritten after a failed write.
    pub fn mark_failed(&self) {
        self.table.state().is_unwritten = true;
    }
}

impl CatalogueTable {
    pub fn new(room: Arc<CatalogueUsage>) -> Self {
        Self { state: Mutex::default(), usage: room }
    }

    /// Scans a row, and keeps its record unless one of the same operation was kept in this second. Returns whether
    /// there was room for every field.
    pub fn scan_row(
        &self,
        operation: Operation,
        row: &Row<'_>,
        now: i64,
        sample: impl FnOnce() -> Option<Sample>,
    ) -> bool {
        let index = operation as usize;
        let mut state = self.state();
        let joined = state.schema.scan_row(row, now, || self.usage.try_reserve_field());
        state.is_unwritten |= joined.is_new;
        if state.newest[index].is_none() || state.sampled_at[index] != now {
            state.sampled_at[index] = now;
            if let Some(sample) = sample() {
                self.store_sample(&mut state.newest[index], sample);
            }
        }
        joined.all_fit
    }

    fn store_sample(&self, newest: &mut Option<Arc<Sample>>, sample: Sample) {
        let old = newest.as_ref().map_or(0, |old| old.bytes());
        if self.usage.try_replace_sample(old, sample.bytes()) {
            *newest = Some(Arc::new(sample));
        }
    }

    /// Merges what another instance knows. Marks the table as unwritten if the other lacks something, because
    /// compaction keeps only the last record. Returns whether there was room for every field.
    pub fn merge(&self, other: &TableSchema) -> bool {
        let mut state = self.state();
        let joined = state.schema.merge(other, || self.usage.try_reserve_field());
        state.is_unwritten = state.schema.has_more_than(other);
        state.written_last_seen = state.written_last_seen.max(other.last_seen);
        joined.all_fit
    }

    pub fn unwritten(table: &Arc<Self>, account: &str, name: &str, now: i64, last: bool) -> Option<TableWrite> {
        let mut state = table.state();
        let is_due =
            state.is_unwritten || state.schema.last_seen - state.written_last_seen >= LAST_SEEN_WRITE_INTERVAL_MS;
        let waits = !last && state.written_at.is_some_and(|at| (0..MIN_WRITE_INTERVAL_MS).contains(&(now - at)));
        if !is_due || waits {
            return None;
        }
        state.is_unwritten = false;
        state.written_at = Some(now);
        state.written_last_seen = state.schema.last_seen;
        let key = serde_json::to_string(&(account, name)).expect("texts are JSON");
        Some(TableWrite { key: format!("{TABLE_PREFIX}{key}"), value: state.schema.write(), table: table.clone() })
    }

    pub fn mark_unwritten(&self) {
        self.state().is_unwritten = true;
    }

    pub fn fields(&self) -> Vec<CatalogueField> {
        self.state().schema.fields()
    }

    /// Newest record of `operation` if there is one, otherwise of any operation.
    pub fn newest(&self, operation: Option<Operation>) -> Option<Arc<Sample>> {
        let state = self.state();
        let newest = operation.and_then(|operation| state.newest[operation as usize].clone());
        newest.or_else(|| state.newest.iter().flatten().max_by_key(|sample| sample.timestamp_ms).cloned())
    }

    fn state(&self) -> MutexGuard<'_, TableState> {
        self.state.lock()
    }
}
