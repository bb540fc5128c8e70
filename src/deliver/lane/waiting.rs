//! What a lane has to do with calls of it that wait in the overflow log: how many it takes, and what goes back there.

use std::time::Duration;

use super::{Lane, LaneState, QueuedCall};
use crate::deliver::context::FailureSummary;

/// For how long calls are taken to wait in the overflow log after whoever reads it has said so.
const BEHIND: Duration = Duration::from_millis(500);

/// How long an endpoint has answered nothing but failures that is taken to fail, where they are too few for its breaker.
const FAILING: Duration = Duration::from_secs(5);

/// How many calls a lane takes of those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    pub calls: usize,
    /// Only those whose time has come, because it is not known that the endpoint works.
    pub only_due: bool,
    /// The endpoint fails, so that they may as well wait elsewhere.
    pub is_failing: bool,
}

impl Takes {
    /// Of a line whose lane is not there: it is made for the first that come.
    pub const UNKNOWN: Self = Self { calls: 16, only_due: true, is_failing: false };
}

impl Lane {
    /// Whether the endpoint fails, and not one call: its calls wait until it works again.
    pub fn is_failing(&self) -> bool {
        let now = self.born.elapsed();
        self.state().is_failing(now)
    }

    /// Why the endpoint fails, if it does.
    pub fn trouble(&self) -> Option<FailureSummary> {
        let now = self.born.elapsed();
        let state = self.state();
        state.is_failing(now).then(|| state.trouble(now))?
    }

    /// How many of the calls that wait in the overflow log the lane takes now. Tells it that there are some.
    pub fn takes(&self) -> Takes {
        let now = self.born.elapsed();
        let config = &self.shared.config;
        let mut state = self.state();
        state.behind_until = Some(now + BEHIND);
        if state.breaker.is_open() {
            let is_wanted = state.breaker.wants_probe(now) && state.calls == 0;
            return Takes { calls: usize::from(is_wanted), only_due: true, is_failing: true };
        }
        let has_bytes = state.bytes < config.queue_bytes;
        let places = if has_bytes { state.waiting_places(config).saturating_sub(state.calls) } else { 0 };
        let only_due = !state.has_worked || state.trouble.is_some();
        Takes { calls: places, only_due, is_failing: state.is_failing(now) }
    }

    /// Gives back what is queued and can go on waiting in its topic, where its partition is to be given up.
    pub(super) fn put_back(&self) {
        let back = self.drain_queue(|held| held.call.from_overflow && held.call.receipt.is_draining());
        back.into_iter().for_each(|held| held.into_call().receipt.put_back());
    }

    /// Takes those out of the queue for which this holds.
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
        self.breaker.is_open() || self.trouble(now).is_some_and(|trouble| trouble.lasted >= FAILING)
    }
}
