//! The way of a call that has waited: from its retry topic back to its lane.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use metrics::{Counter, counter};

use super::input;
use crate::deliver::{CALL_BYTES, Lanes, Onward as _, Share};
use crate::matching::Index;
use crate::receipt::Receipt;
use crate::settle::{Due, KeptCall, Settle, Tier, Until};
use crate::source::{Handler, Record};

/// The stages behind one partition of a retry topic.
pub struct Resume {
    tier: Tier,
    /// What this partition gives of the calls of webhooks that may make only so many a second.
    _share: Option<Share>,
    index: Arc<Index>,
    lanes: Arc<Lanes>,
    settle: Arc<Settle>,
    cancelled: Counter,
}

impl Resume {
    pub fn new(tier: Tier, share: Option<Share>, index: Arc<Index>, lanes: Arc<Lanes>, settle: Arc<Settle>) -> Self {
        let cancelled = counter!("outhook_calls_total", "outcome" => "cancelled");
        Self { tier, _share: share, index, lanes, settle, cancelled }
    }

    fn due(&self, record: &Record<'_>) -> Due {
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since_1970| since_1970.as_millis() as i64);
        match Until::read(|name| record.header(name)) {
            Ok(until) => self.tier.due(record.timestamp_ms(), until.due_ms, now),
            // What is no call that waits need not wait to be found out.
            Err(_) => Due::Now,
        }
    }
}

impl Handler for Resume {
    fn wait(&self, record: &Record<'_>, waited: Duration) -> Option<Duration> {
        match self.due(record) {
            Due::In(wait) if waited < self.tier.longest_wait() => Some(wait),
            Due::In(_) | Due::Now | Due::Elsewhere(_) => None,
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
        let body = Bytes::copy_from_slice(record.value().unwrap_or_default());
        let share = receipt.share(body.len() + CALL_BYTES);
        receipt.settle();
        let (target, live) = (self.index.target(kept.webhook), self.index.live(kept.event));
        // Its writer may have known more of the definitions than this instance does yet; or the event is active, and its
        // webhook one that can't be made ready here.
        if (live.is_none() && self.index.as_of() < until.definitions) || (live.is_some() && target.is_none()) {
            return self.settle.wait_again(kept, until.definitions, body, share);
        }
        let known = target.zip(live).and_then(|(target, live)| Some((kept.endpoint_of(&target)?, target, live)));
        let Some((endpoint, target, live)) = known else {
            // It was deleted or disabled, or its URL was taken away.
            self.cancelled.increment(1);
            self.settle.cancelled(&kept);
            return share.settle();
        };
        let call = kept.into_call(endpoint, target, live, body, share);
        match self.due(&record) {
            Due::Now => self.lanes.resume(call).await,
            // What is still not due has a time by another clock; behind it are others that may be.
            Due::In(wait) | Due::Elsewhere(wait) => self.settle.wait(call, wait, None),
        }
    }
}
