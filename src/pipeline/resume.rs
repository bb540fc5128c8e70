//! The way of a call that has waited: from its retry topic, or from the topic of row order, back to its lane.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, counter};

use super::{input, now_ms};
use crate::deliver::{CALL_BYTES, Lanes, Onward as _, Share};
use crate::matching::{Index, Live, Target};
use crate::receipt::Receipt;
use crate::settle::{Due, KeptCall, Settle, Tier, Until};
use crate::source::{Handler, Record};

/// How long a call in row order, and all behind it, waits for this instance to know as much as its writer did. An
/// instance is behind by less than a second but where its definitions can't be read at all.
const CATCH_UP: Duration = Duration::from_secs(60);

/// How old a call is at least before it is given up because the definitions end before its own. Instances that lag
/// behind have long come to the end by then, and what is restored slowly has its time.
const RESTORED_IN: Duration = Duration::from_secs(600);

/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(50);

/// The stages behind one partition of such a topic.
pub struct Resume {
    from: Origin,
    /// What this partition gives of the calls of webhooks that may make only so many a second.
    _share: Option<Share>,
    index: Arc<Index>,
    lanes: Arc<Lanes>,
    settle: Arc<Settle>,
    cancelled: Counter,
}

/// Where calls come from.
pub enum Origin {
    /// A retry topic.
    Tier(Tier),
    /// The topic of row order, where they are due at once.
    RowOrder,
}

/// What this instance knows of a call's definition.
enum Known {
    As(Arc<Target>, Live),
    /// It was deleted or disabled.
    Gone,
    /// Its writer knew more of the definitions than this instance does yet.
    NotYet,
    /// Its writer knew more of the definitions than there are now.
    Lost,
    /// The event is active, and its webhook one that can't be made ready here.
    NotReady,
}

impl Resume {
    pub fn new(from: Origin, share: Option<Share>, index: Arc<Index>, lanes: Arc<Lanes>, settle: Arc<Settle>) -> Self {
        let cancelled = counter!("outhook_calls_total", "outcome" => "cancelled");
        Self { from, _share: share, index, lanes, settle, cancelled }
    }

    fn known(&self, kept: &KeptCall, until: Until) -> Known {
        match (self.index.target(kept.webhook), self.index.live(kept.event)) {
            (Some(target), Some(live)) => Known::As(target, live),
            (None, Some(_)) => Known::NotReady,
            (_, None) if self.index.as_of() >= until.definitions => Known::Gone,
            (_, None) if is_lost(kept, self.index.end_seen_ms()) => Known::Lost,
            (_, None) => Known::NotYet,
        }
    }

    /// Whether a call in row order is to wait for what its writer knew. Elsewhere it would lose its place.
    fn is_ahead(&self, record: &Record<'_>) -> bool {
        let header = |name: &str| record.header(name);
        let Ok(until) = Until::read(header) else { return false };
        // So it is for nearly all, and the rest need not be read twice.
        if self.index.as_of() >= until.definitions {
            return false;
        }
        KeptCall::read(header).is_ok_and(|kept| matches!(self.known(&kept, until), Known::NotYet))
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

/// Whether the definitions ended before that of a call when their end was last seen, long after the call was made. They
/// only grow, so a call that is not among them by then never will be: their topic was restored from an older copy.
fn is_lost(kept: &KeptCall, end_seen_ms: i64) -> bool {
    end_seen_ms.saturating_sub(kept.offered_ms) > RESTORED_IN.as_millis() as i64
}

fn due(tier: &Tier, record: &Record<'_>) -> Due {
    let now = now_ms();
    match Until::read(|name| record.header(name)) {
        Ok(until) => tier.due(record.timestamp_ms(), until.due_ms, now),
        // What is no call that waits need not wait to be found out.
        Err(_) => Due::Now,
    }
}

fn body(record: &Record<'_>) -> Bytes {
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
        let (kept, until) = match (KeptCall::read(header), Until::read(header)) {
            (Ok(kept), Ok(until)) => (kept, until),
            (Err(reason), _) | (_, Err(reason)) => {
                self.settle.unreadable(&input(&record), &reason, &receipt);
                return receipt.settle();
            }
        };
        let share = receipt.share(record.value().map_or(0, <[u8]>::len) + CALL_BYTES);
        receipt.settle();
        match self.known(&kept, until) {
            Known::As(target, live) => self.resume(&record, kept, target, live, share).await,
            Known::NotYet | Known::NotReady => self.settle.wait_again(kept, until.definitions, body(&record), share),
            Known::Lost => self.settle.unknown(&kept, until.definitions, body(&record), share),
            Known::Gone => self.cancel(&kept, share),
        }
    }
}
