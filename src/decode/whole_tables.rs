//! Tables that are sent whole, learned from their updates.

use std::sync::Arc;

use dashmap::DashSet;

/// Tables whose last update had `before`, so that a delete's `before` can be trusted. Shared by all decoders of an
/// instance.
#[derive(Clone, Default)]
pub struct WholeTables(Arc<DashSet<Box<str>>>);

impl WholeTables {
    /// A copy of the current state that learns separately, for records that are read again: an old update may show a
    /// setting of its table that has changed since.
    pub fn fork(&self) -> Self {
        Self(Arc::new(DashSet::clone(&self.0)))
    }

    pub(super) fn contain(&self, table: &str) -> bool {
        self.0.contains(table)
    }

    /// Learns from an update: with `before` the table is sent whole from now on, without `before` it no longer is
    /// (PostgreSQL's `ALTER TABLE … REPLICA IDENTITY` takes effect in the middle of a topic).
    pub(super) fn update(&self, table: &str, whole: bool) {
        // The state rarely changes, and this check takes only a shared lock.
        if self.contain(table) != whole {
            if whole {
                self.0.insert(table.into());
            } else {
                self.0.remove(table);
            }
        }
    }
}
