//! The way of a call that has waited: from its retry topic, or from the topic of row order, back to its lane.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, counter};

use super::copies::Copies;
use super::definitions::{Definitions, Known};
use super::{input, now_ms};
use crate::deliver::{CALL_BYTES, Lanes, Onward as _, Share};
use crate::matching::{Live, Target};
use crate::receipt::Receipt;
use crate::settle::{Due, KeptCall, Settle, Tier, Until};
use crate::source::{Handler, Record};

/// How long a call in row order, and all behind it, waits for this instance to know as much as its writer did. An
/// instance is behind by less than a second but where its definitions can't be read at all.
const CATCH_UP: Duration = Duration::from_secs(60);

/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(50);

/// The stages behind one partition of such a topic.
pub struct Resume {
    from: Origin,
    copies: Copies,
    /// What this partition gives of the calls of webhooks that may make only so many a second.
    _share: Option<Share>,
    definitions: Definitions,
    lanes: Arc<Lanes>,
    settle: Arc<Settle>,
    cancelled: Counter,
    copied: Counter,
}

/// Where calls come from.
pub enum Origin {
    /// A retry topic.
    Tier(Tier),
    /// The topic of row order, where they are due at once.
    RowOrder,
}

impl Resume {
    pub fn new(
        (from, share): (Origin, Option<Share>),
        definitions: Definitions,
        lanes: Arc<Lanes>,
        settle: Arc<Settle>,
    ) -> Self {
        let cancelled = counter!("outhook_calls_total", "outcome" => "cancelled");
        let (copied, copies) = (counter!("outhook_retry_copies_total"), Copies::default());
        Self { from, copies, copied, _share: share, definitions, lanes, settle, cancelled }
    }

    /// Whether a call in row order is to wait for what its writer knew. Elsewhere it would lose its place.
    fn is_ahead(&self, record: &Record<'_>) -> bool {
        let header = |name: &str| record.header(name);
        let Ok(until) = Until::read(header) else { return false };
        // So it is for nearly all, and the rest need not be read twice.
        if self.definitions.as_of() >= until.definitions {
            return false;
        }
        let written_ms = record.timestamp_ms();
        KeptCall::read(header)
            .is_ok_and(|kept| matches!(self.definitions.known(&kept, until, written_ms), Known::NotYet))
    }

    fn cancel(&self, kept: &KeptCall, share: Receipt) {
        self.cancelled.increment(1);
        self.settle.cancelled(kept);
        share.settle();
    }

    async fn resume(&self, record: &Record<'_>, kept: KeptCall, target: Arc<Target>, live: Live, share: Receipt) {
        let Some(endpoint) = kept.endpoint_of(&target) else {
            // Its URL was taken away.
            return self.cancel(&kept, share);
        };
        let is_in_order = target.is_in_row_order();
        let call = kept.into_call(endpoint, target, live, body(record), share);
        match &self.from {
            Origin::RowOrder if is_in_order => self.lanes.send(call).await,
            Origin::RowOrder => self.lanes.resume(call).await,
            Origin::Tier(tier) => match due(tier, record) {
                // Its webhook has come to want an order since, or it was redriven.
                Due::Now if is_in_order => self.settle.in_order(call).await,
                Due::Now => self.lanes.resume(call).await,
                // What is still not due has a time by another clock; behind it are others that may be.
                Due::In(wait) | Due::Elsewhere(wait) => self.settle.wait(call, wait, None),
            },
        }
    }
}

fn due(tier: &Tier, record: &Record<'_>) -> Due {
    let now = now_ms();
    match Until::read(|name| record.header(name)) {
        Ok(until) => tier.due(record.timestamp_ms(), until.due_ms, now),
        // What is no call that waits need not wait to be found out.
        Err(_) => Due::Now,
    }
}

pub(super) fn body(record: &Record<'_>) -> Bytes {
    Bytes::copy_from_slice(record.value().unwrap_or_default())
}

impl Handler for Resume {
    fn wait(&self, record: &Record<'_>, waited: Duration) -> Option<Duration> {
        match &self.from {
            Origin::Tier(tier) => match due(tier, record) {
                Due::In(wait) if waited < tier.longest_wait() => Some(wait),
                Due::In(_) | Due::Now | Due::Elsewhere(_) => None,
            },
            Origin::RowOrder => (waited < CATCH_UP && self.is_ahead(record)).then_some(LOOK),
        }
    }

    async fn handle(&mut self, record: Record<'_>, receipt: Receipt) {
        let header = |name: &str| record.header(name);
        let (kept, until) = match KeptCall::read_waiting(header) {
            Ok(read) => read,
            Err(reason) => {
                self.settle.unreadable(&input(&record), &reason, &receipt);
                return receipt.settle();
            }
        };
        if self.copies.passes_over(&kept, record.offset()) {
            self.copied.increment(1);
            return receipt.settle();
        }
        let share = receipt.share(record.value().map_or(0, <[u8]>::len) + CALL_BYTES);
        receipt.settle();
        match self.definitions.known(&kept, until, record.timestamp_ms()) {
            Known::As(target, live) => self.resume(&record, kept, target, live, share).await,
            Known::NotYet | Known::NotReady => self.settle.wait_again(kept, until.definitions, body(&record), share),
            Known::Lost => self.settle.unknown(&kept, until.definitions, body(&record), share),
            Known::Gone => self.cancel(&kept, share),
        }
    }
}
