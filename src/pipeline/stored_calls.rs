//! Restores calls from the records in which they wait.

use std::sync::Arc;

use bytes::Bytes;
use metrics::{Counter, counter};

use super::call_definitions::{CallDefinitions, DefinitionLookup};
use super::dedup::Deduplicator;
use super::input;
use crate::deliver::{CALL_BYTES, Call};
use crate::receipt::Receipt;
use crate::settle::{CallDue, Settler, StoredCall};
use crate::source::Record;

/// Reads the records of one partition. Dead-letters records that are not calls, and cancels calls that must not be
/// sent any more.
pub(in crate::pipeline) struct StoredCallReader {
    deduplicator: Deduplicator,
    pub definitions: CallDefinitions,
    pub settler: Arc<Settler>,
    cancelled: Counter,
    copies_skipped: Counter,
}

impl StoredCallReader {
    pub fn new(definitions: CallDefinitions, settle: Arc<Settler>) -> Self {
        Self {
            deduplicator: Deduplicator::default(),
            definitions,
            settler: settle,
            cancelled: counter!("outhook_calls_total", "outcome" => "cancelled"),
            copies_skipped: counter!("outhook_retry_copies_total"),
        }
    }

    /// Whether the record at this offset is a copy of an earlier one and must be skipped. Call this once for each
    /// record, when it is first read.
    pub fn is_copy(&mut self, stored: &StoredCall, offset: i64) -> bool {
        let is_copy = self.deduplicator.is_duplicate(stored, offset);
        if is_copy {
            self.copies_skipped.increment(1);
        }
        is_copy
    }

    /// The call in a record, and until when it waits. None if the record is not a call; then it becomes a dead
    /// letter.
    pub fn read(&self, record: &Record<'_>, receipt: &Receipt) -> Option<(StoredCall, CallDue)> {
        let read = StoredCall::read_waiting(|name| record.header(name));
        read.map_err(|reason| self.settler.dead_letter_invalid_call(&input(record), &reason, receipt)).ok()
    }

    /// The call with the current settings of its webhook. None if it can't be sent: then it has ended, or waits
    /// again.
    pub fn restore_call(
        &self,
        stored: StoredCall,
        until: CallDue,
        record: &Record<'_>,
        receipt: Receipt,
    ) -> Option<Call> {
        let share = receipt.share(record.value().map_or(0, <[u8]>::len) + CALL_BYTES);
        receipt.settle();
        match self.definitions.look_up(&stored, until, record.timestamp_ms()) {
            DefinitionLookup::Known(target, live) => match stored.current_endpoint(&target) {
                Some(endpoint) => return Some(stored.into_call(endpoint, target, live, body(record), share)),
                // Its URL was removed from the webhook.
                None => self.cancel(&stored, share),
            },
            DefinitionLookup::NotReadYet | DefinitionLookup::NotCompiled => {
                self.settler.retry_later(stored, until.definitions_offset, body(record), share)
            }
            DefinitionLookup::Lost => {
                self.settler.dead_letter_unknown_definition(&stored, until.definitions_offset, body(record), share)
            }
            DefinitionLookup::Deleted => self.cancel(&stored, share),
        }
        None
    }

    fn cancel(&self, stored: &StoredCall, share: Receipt) {
        self.cancelled.increment(1);
        self.settler.log_cancelled(stored);
        share.settle();
    }
}

fn body(record: &Record<'_>) -> Bytes {
    Bytes::copy_from_slice(record.value().unwrap_or_default())
}
