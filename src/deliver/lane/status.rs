//! The status of a lane for operators, and the order to try its endpoint now.

use std::time::Duration;

use super::super::FailureCause;
use super::{Lane, LaneState};
use crate::deliver::policy::breaker::BreakerPhase;
use crate::id::Line;

/// A failure without a later call becomes outdated after this time.
const OLD_NEWS: Duration = Duration::from_secs(60);

/// Status of an endpoint's lane on this instance.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    /// The line in which its calls wait.
    pub line: Line,
    /// Why the endpoint fails and for how long, if its last attempt failed because of the endpoint.
    pub trouble: Option<(FailureCause, Duration)>,
    /// For how long the endpoint has only failed, even if that is outdated.
    pub outage: Option<Duration>,
    /// Whether the endpoint counts as failing. Then its calls are turned away, or wait until it works.
    pub is_failing: bool,
    pub breaker: BreakerPhase,
    /// Max concurrent attempts, as found by the limiter.
    pub concurrency: usize,
    pub under_way: usize,
    /// Calls in memory, including those under way.
    pub in_memory: usize,
}

impl Lane {
    /// The current status.
    pub fn status(&self) -> LaneStatus {
        let now = self.created.elapsed();
        let state = self.state();
        let is_news = !self.is_old_news(&state, now);
        let trouble = state.trouble(now).filter(|_| is_news);
        LaneStatus {
            line: self.key.line(),
            trouble: trouble.map(|trouble| (trouble.cause, trouble.duration)),
            outage: state.trouble(now).map(|trouble| trouble.duration),
            is_failing: is_news && state.is_failing(now),
            breaker: if is_news { state.breaker.phase(now) } else { BreakerPhase::Closed },
            concurrency: state.concurrency.max_concurrent_calls(),
            under_way: state.under_way,
            in_memory: state.calls,
        }
    }

    /// Whether the endpoint fails, and how many calls wait in the lane.
    pub fn counts(&self) -> (bool, usize) {
        let now = self.created.elapsed();
        let state = self.state();
        let is_failing = state.is_failing(now) && !self.is_old_news(&state, now);
        (is_failing, state.calls.saturating_sub(state.under_way))
    }

    /// Whether the lane has no call, and had none for so long that another instance may have found that the endpoint
    /// works.
    fn is_old_news(&self, state: &LaneState, now: Duration) -> bool {
        state.is_idle() && is_old(now.saturating_sub(state.last_failed), self.shared.config.breaker_pause)
    }

    /// Lets the breaker send its next probe now.
    pub fn probe_now(&self) {
        let now = self.created.elapsed();
        self.state().breaker.probe_now(now);
    }
}

/// Whether a failure of this age is outdated. Waiting calls are probed at least twice in that time.
fn is_old(age: Duration, breaker_pause: Duration) -> bool {
    age > OLD_NEWS.max(breaker_pause * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_old_after_two_probe_intervals_without_a_probe() {
        let seconds = Duration::from_secs;
        assert!(!is_old(seconds(60), seconds(30)) && is_old(seconds(61), seconds(30)));
        assert!(!is_old(seconds(1200), seconds(600)) && is_old(seconds(1201), seconds(600)));
    }
}
