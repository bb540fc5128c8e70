//! How a lane stands, for people who watch it; and the order to try its endpoint now.

use std::time::Duration;

use super::super::Cause;
use super::{Lane, LaneState};
use crate::deliver::policy::breaker::Phase;
use crate::id::Line;

/// After this time without a call, a failure says nothing of how the endpoint is.
const OLD_NEWS: Duration = Duration::from_secs(60);

/// How the lane of an endpoint stands on this instance.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    /// The line in which its calls wait.
    pub line: Line,
    /// Why the endpoint fails and for how long, if its last attempt failed for a reason of the endpoint's.
    pub trouble: Option<(Cause, Duration)>,
    /// For how long it has only failed, though that may be old news.
    pub outage: Option<Duration>,
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
        let is_news = !self.is_old_news(&state, now);
        let trouble = state.trouble(now).filter(|_| is_news);
        LaneStatus {
            line: self.key.line(),
            trouble: trouble.map(|trouble| (trouble.cause, trouble.lasted)),
            outage: state.trouble(now).map(|trouble| trouble.lasted),
            is_failing: is_news && state.is_failing(now),
            breaker: if is_news { state.breaker.phase(now) } else { Phase::Closed },
            concurrency: state.concurrency.allowed(),
            under_way: state.under_way,
            in_memory: state.calls,
        }
    }

    /// Whether the endpoint fails, and how many calls wait here.
    pub fn counts(&self) -> (bool, usize) {
        let now = self.born.elapsed();
        let state = self.state();
        let is_failing = state.is_failing(now) && !self.is_old_news(&state, now);
        (is_failing, state.calls.saturating_sub(state.under_way))
    }

    /// Whether it has no call, and had none for so long that another instance may have found the endpoint to work.
    fn is_old_news(&self, state: &LaneState, now: Duration) -> bool {
        state.is_left() && is_old(now.saturating_sub(state.last_failed), self.shared.config.breaker_pause)
    }

    /// Lets the breaker send its next probe now.
    pub fn probe_now(&self) {
        let now = self.born.elapsed();
        self.state().breaker.probe_now(now);
    }
}

/// Whether a failure of so long ago says nothing any more. Calls that wait are probed with at least twice in that time.
fn is_old(age: Duration, breaker_pause: Duration) -> bool {
    age > OLD_NEWS.max(breaker_pause * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_old_once_no_probe_has_come_for_long() {
        let seconds = Duration::from_secs;
        assert!(!is_old(seconds(60), seconds(30)) && is_old(seconds(61), seconds(30)));
        assert!(!is_old(seconds(1200), seconds(600)) && is_old(seconds(1201), seconds(600)));
    }
}
