//! The number of calls that a lane takes, and the reasons for which it takes no more.

use std::time::Duration;

use super::super::{Call, Config, FailureCause};
use super::LaneState;
use crate::deliver::context::DeliveryContext;
use crate::deliver::failure_summary::FailureSummary;

/// Each lane takes this many calls, however many other lanes hold.
pub(super) const MIN_PLACES: usize = 8;

/// Why a lane does not take a call. The call is returned.
pub(in crate::deliver) enum Refusal {
    /// There is no room now, but there will be soon.
    Full(Call),
    /// There is no room, and waiting for it would delay other endpoints: the endpoint takes fewer calls than arrive.
    Slow(Call),
    /// The endpoint fails, for this reason.
    Failing(Call, Option<FailureSummary>),
    /// There is no room, and the call has no other place to wait: it is dead-lettered for this reason.
    DeadLetter(Call, FailureCause),
    Closed(Call),
}

impl Refusal {
    pub fn into_call(self) -> Call {
        match self {
            Self::Full(call)
            | Self::Slow(call)
            | Self::Failing(call, _)
            | Self::DeadLetter(call, _)
            | Self::Closed(call) => call,
        }
    }
}

impl LaneState {
    /// How many calls the lane may hold before it takes this one. While calls wait in the overflow log, fresh calls
    /// get half of the places that waiting calls get. So the waiting calls fill the lane first, and fresh calls get
    /// all places again when the log has no more.
    pub(super) fn places(&self, config: &Config, now: Duration, from_overflow: bool) -> usize {
        let waiting = self.waiting_places(config);
        match (from_overflow, self.is_behind(now)) {
            (true, _) => waiting,
            (false, true) => waiting / 2,
            (false, false) => config.queue_calls,
        }
    }

    /// How many calls the lane may hold before it takes one that can wait in the overflow log. This keeps the lane's
    /// workers busy until more calls are read. It is not more, because very many lanes may do the same.
    pub(super) fn waiting_places(&self, config: &Config) -> usize {
        (self.concurrency.max_concurrent_calls() * 2).max(MIN_PLACES).min(config.queue_calls)
    }

    /// Whether calls of this lane wait in the overflow log, in the partitions that this instance reads.
    fn is_behind(&self, now: Duration) -> bool {
        self.behind_until.is_some_and(|until| now < until)
    }

    /// Whether waiting tasks must be notified of free places. They are notified when a quarter of the lane is free, so
    /// that a lane which stays full wakes them once for many calls.
    pub(super) fn announces_free_places(&mut self, config: &Config) -> bool {
        let has_space = self.calls <= self.full_at / 4 * 3 && self.bytes <= config.queue_bytes / 4 * 3;
        let notify = has_space && std::mem::take(&mut self.full);
        if notify {
            self.pace.reset();
        }
        notify
    }

    /// Whether a full lane delays other endpoints.
    pub(super) fn is_slow(&mut self, limit: usize, shared: &DeliveryContext, now: Duration) -> bool {
        let is_behind = self.is_behind(now);
        (self.full, self.full_at) = (true, limit);
        !self.breaker.is_open() && self.pace.is_slow(self.calls, is_behind, shared.clock.read())
    }
}
