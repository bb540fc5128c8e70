//! How a lane stands, for people who watch it; and the order to try its endpoint now.

use std::time::Duration;

use super::super::Cause;
use super::super::breaker::Phase;
use super::Lane;
use crate::id::Line;

/// How the lane of an endpoint stands on this instance.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    /// The line in which its calls wait.
    pub line: Line,
    /// Why the endpoint fails and for how long, if its last attempt failed for a reason of the endpoint's.
    pub trouble: Option<(Cause, Duration)>,
    /// Whether it counts as failing, so that calls are kept from it or wait until it works.
    pub is_failing: bool,
    pub breaker: Phase,
    /// Max attempts under way at once, as the limiter has found it.
    pub concurrency: usize,
    pub under_way: usize,
    /// Calls in memory, those under way included.
    pub in_memory: usize,
}

impl Lane {
    /// How it stands now.
    pub fn status(&self) -> LaneStatus {
        let now = self.born.elapsed();
        let state = self.state();
        LaneStatus {
            line: self.key.line(),
            trouble: state.trouble(now).map(|trouble| (trouble.cause, trouble.lasted)),
            is_failing: state.is_failing(now),
            breaker: state.breaker.phase(now),
            concurrency: state.concurrency.allowed(),
            under_way: state.under_way,
            in_memory: state.calls,
        }
    }

    /// Whether the endpoint fails, and how many calls wait here.
    pub fn counts(&self) -> (bool, usize) {
        let now = self.born.elapsed();
        let state = self.state();
        (state.is_failing(now), state.calls.saturating_sub(state.under_way))
    }

    /// Lets the breaker send its next probe now.
    pub fn probe_now(&self) {
        let now = self.born.elapsed();
        self.state().breaker.probe_now(now);
    }
}
