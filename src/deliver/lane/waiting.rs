//! How a lane works with the overflow log: how many waiting calls it takes, and which calls return to it.

use std::time::Duration;

use super::{Lane, LaneState, QueuedCall};
use crate::deliver::failure_summary::FailureSummary;

/// After the reader of the overflow log reports waiting calls of a lane, they are assumed to wait for this time.
const BEHIND: Duration = Duration::from_millis(500);

/// An endpoint counts as failing when it has only failed for this time, even with too few failures to open its
/// breaker.
const FAILING: Duration = Duration::from_secs(5);

/// How many of the waiting calls a lane takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    pub calls: usize,
    /// Only calls that are due, because the endpoint is not known to work.
    pub only_due: bool,
    /// The endpoint fails, so its calls may wait in a retry topic instead.
    pub is_failing: bool,
}

impl Takes {
    /// For a line without a lane: the first calls create it.
    pub const UNKNOWN: Self = Self { calls: 16, only_due: true, is_failing: false };
}

impl Lane {
    /// Whether the endpoint itself fails, not only one call. Then its calls wait until it works again.
    pub fn is_failing(&self) -> bool {
        let now = self.created.elapsed();
        self.state().is_failing(now)
    }

    /// Why the endpoint fails, if it does.
    pub fn trouble(&self) -> Option<FailureSummary> {
        let now = self.created.elapsed();
        let state = self.state();
        state.is_failing(now).then(|| state.trouble(now))?
    }

    /// How many of the calls that wait in the overflow log the lane takes now. Records that such calls exist.
    pub fn takes(&self) -> Takes {
        let now = self.created.elapsed();
        let config = &self.shared.config;
        let mut state = self.state();
        state.behind_until = Some(now + BEHIND);
        if state.breaker.is_open() {
            let is_wanted = state.breaker.is_probe_due(now) && state.calls == 0;
            return Takes { calls: usize::from(is_wanted), only_due: true, is_failing: true };
        }
        let has_bytes = state.bytes < config.queue_bytes;
        let places = if has_bytes { state.waiting_places(config).saturating_sub(state.calls) } else { 0 };
        let only_due = !state.has_worked || state.trouble.is_some();
        Takes { calls: places, only_due, is_failing: state.is_failing(now) }
    }

    /// Returns queued calls of a draining partition to its topic, if they can continue to wait there.
    pub(super) fn put_back(&self) {
        let back = self.drain_queue(|queued| queued.call.from_overflow && queued.call.receipt.is_draining());
        back.into_iter().for_each(|queued| queued.into_call().receipt.put_back());
    }

    /// Removes the calls from the queue for which `which` returns true.
    pub(super) fn drain_queue(&self, which: impl Fn(&QueuedCall) -> bool) -> Vec<QueuedCall> {
        let mut state = self.state();
        if !state.queue.iter().any(&which) {
            return Vec::new();
        }
        let (out, stay) = std::mem::take(&mut state.queue).into_iter().partition(which);
        state.queue = stay;
        out.into()
    }
}

impl LaneState {
    pub(super) fn is_failing(&self, now: Duration) -> bool {
        self.breaker.is_open() || self.trouble(now).is_some_and(|trouble| trouble.duration >= FAILING)
    }
}
