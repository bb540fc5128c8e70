//! Handles a call in row order: from the row-order topic to its lane.

use std::sync::Arc;
use std::time::Duration;

use super::call_definitions::{CallDefinitions, DefinitionLookup};
use super::dead_letter_unreadable;
use super::ordering;
use super::stored_calls::StoredCallReader;
use crate::deliver::{Lanes, SlotLease};
use crate::receipt::Receipt;
use crate::settle::{CallDue, Settler, StoredCall};
use crate::source::{Handler, Record, UnreadableRange};

/// Max time that a call, and all calls behind it, wait until this instance has read the definitions that the call's
/// writer knew. An instance is behind by less than a second, unless it can't read the definitions at all.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);

/// Interval of this check.
const CATCH_UP_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The stages behind one partition of the row-order topic.
pub struct RowOrderHandler {
    calls: StoredCallReader,
    lanes: Arc<Lanes>,
    /// This partition's throttle slots.
    _slot_lease: SlotLease,
}

impl RowOrderHandler {
    pub fn new(share: SlotLease, definitions: CallDefinitions, lanes: Arc<Lanes>, settle: Arc<Settler>) -> Self {
        Self { calls: StoredCallReader::new(definitions, settle), lanes, _slot_lease: share }
    }

    /// Whether a call must wait until this instance has read the definitions that the call's writer knew. In another
    /// topic the call would lose its place.
    fn needs_newer_definitions(&self, record: &Record<'_>) -> bool {
        let (header, definitions) = (|name: &str| record.header(name), &self.calls.definitions);
        let Ok(until) = CallDue::read(header) else { return false };
        // True for nearly all calls. Their other headers need not be read twice.
        if definitions.applied_offset() >= until.definitions_offset {
            return false;
        }
        let written_ms = record.timestamp_ms();
        StoredCall::read(header)
            .is_ok_and(|stored| matches!(definitions.look_up(&stored, until, written_ms), DefinitionLookup::NotReadYet))
    }
}

impl Handler for RowOrderHandler {
    fn remaining_wait(&self, record: &Record<'_>, waited: Duration) -> Option<Duration> {
        (waited < CATCH_UP_TIMEOUT && self.needs_newer_definitions(record)).then_some(CATCH_UP_CHECK_INTERVAL)
    }

    async fn handle(&mut self, record: Record<'_>, receipt: Receipt) {
        let Some((stored, until)) = self.calls.read(&record, &receipt) else { return receipt.settle() };
        if self.calls.is_copy(&stored, record.offset()) {
            return receipt.settle();
        }
        let Some(call) = self.calls.restore_call(stored, until, &record, receipt) else { return };
        ordering::send_from_row_order_topic(&self.lanes, call).await;
    }

    fn dead_letter_unreadable(&mut self, offsets: &UnreadableRange, receipt: Receipt) {
        dead_letter_unreadable(&self.calls.settler, offsets, receipt);
    }
}
