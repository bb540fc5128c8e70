//! Which tables are sent whole, learnt from their updates.

use std::sync::Arc;

use dashmap::DashSet;

/// Tables of which an update with `before` was seen, so that a delete's `before` may be believed.
/// Shared by all decoders of an instance.
#[derive(Clone, Default)]
pub struct WholeTables(Arc<DashSet<Box<str>>>);

impl WholeTables {
    /// A copy that knows what is known now and learns for itself alone, for records that are read once more: what an
    /// old update says of its table may have been true only then.
    pub fn apart(&self) -> Self {
        Self(Arc::new(DashSet::clone(&self.0)))
    }

    pub(super) fn contain(&self, table: &str) -> bool {
        self.0.contains(table)
    }

    /// Takes note of an update: with its `before` the table is sent whole from now on, without no longer
    /// (PostgreSQL's `ALTER TABLE … REPLICA IDENTITY` takes effect in the middle of a topic).
    pub(super) fn learn(&self, table: &str, whole: bool) {
        // Nearly always it is known already, and looking only shares the lock.
        if self.contain(table) != whole {
            if whole {
                self.0.insert(table.into());
            } else {
                self.0.remove(table);
            }
        }
    }
}
