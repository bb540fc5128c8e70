//! Handles a call in row order: from the row-order topic to its lane.

use std::sync::Arc;
use std::time::Duration;

use super::call_definitions::{CallDefinitions, DefinitionLookup};
use super::dead_letter_unreadable;
use super::ordering;
use super::stored_calls::StoredCalls;
use crate::deliver::{Lanes, SlotLease};
use crate::receipt::Receipt;
use crate::settle::{Due, Settle, StoredCall};
use crate::source::{Handler, Record, Unreadable};

/// Max time that a call, and all calls behind it, wait until this instance has read the definitions that the call's
/// writer knew. An instance is behind by less than a second, unless it can't read the definitions at all.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Interval of this check.
const LOOK: Duration = Duration::from_millis(50);

/// The stages behind one partition of the row-order topic.
pub struct RowOrderHandler {
    calls: StoredCalls,
    lanes: Arc<Lanes>,
    /// This partition's throttle slots.
    _share: SlotLease,
}

impl RowOrderHandler {
    pub fn new(share: SlotLease, definitions: CallDefinitions, lanes: Arc<Lanes>, settle: Arc<Settle>) -> Self {
        Self { calls: StoredCalls::new(definitions, settle), lanes, _share: share }
    }

    /// Whether a call must wait until this instance has read the definitions that the call's writer knew. In another
    /// topic the call would lose its place.
    fn is_ahead(&self, record: &Record<'_>) -> bool {
        let (header, definitions) = (|name: &str| record.header(name), &self.calls.definitions);
        let Ok(until) = Due::read(header) else { return false };
        // True for nearly all calls. Their other headers need not be read twice.
        if definitions.as_of() >= until.definitions {
            return false;
        }
        let written_ms = record.timestamp_ms();
        StoredCall::read(header)
            .is_ok_and(|kept| matches!(definitions.known(&kept, until, written_ms), DefinitionLookup::NotYet))
    }
}

impl Handler for RowOrderHandler {
    fn wait(&self, record: &Record<'_>, waited: Duration) -> Option<Duration> {
        (waited < CATCH_UP && self.is_ahead(record)).then_some(LOOK)
    }

    async fn handle(&mut self, record: Record<'_>, receipt: Receipt) {
        let Some((kept, until)) = self.calls.read(&record, &receipt) else { return receipt.settle() };
        if self.calls.is_copy(&kept, record.offset()) {
            return receipt.settle();
        }
        let Some(call) = self.calls.again(kept, until, &record, receipt) else { return };
        ordering::send_from_row_order_topic(&self.lanes, call).await;
    }

    fn unreadable(&mut self, offsets: &Unreadable, receipt: Receipt) {
        dead_letter_unreadable(&self.calls.settle, offsets, receipt);
    }
}
