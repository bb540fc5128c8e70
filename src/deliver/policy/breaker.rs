//! Circuit breaker of an endpoint; pure. Times are counted from the start of the lane.
//!
//! After a number of failures in a row the breaker opens. Calls are turned away then, to wait where they cost nothing,
//! and only an occasional probe finds out whether the endpoint works again. One response without trouble closes the
//! breaker.

use std::time::Duration;

/// What the breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Calls pass.
    Closed,
    /// Calls are turned away until the next probe, which is due after this time.
    Open(Duration),
    /// The next call passes as a probe, or a probe is under way.
    Probing,
}

/// Wait before the first probe. Each failed probe doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(in crate::deliver) struct Breaker {
    /// Failures in a row that open the breaker. At 0 failures never open it.
    threshold: u32,
    longest_wait: Duration,
    failures: u32,
    state: BreakerState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakerState {
    Closed,
    /// No call passes before `until`.
    Open {
        until: Duration,
        wait: Duration,
    },
    /// A probe is under way. If its result is not known at `until`, another one may follow.
    Probing {
        until: Duration,
        wait: Duration,
    },
}

impl Breaker {
    pub fn new(threshold: u32, longest_wait: Duration) -> Self {
        Self { threshold, longest_wait, failures: 0, state: BreakerState::Closed }
    }

    /// Returns whether a call may be sent now. If the breaker is open and the wait is over, that call is the probe.
    pub fn admits(&mut self, now: Duration) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open { until, wait } | BreakerState::Probing { until, wait } if now >= until => {
                self.state = BreakerState::Probing { until: now + wait.max(FIRST_WAIT), wait };
                true
            }
            BreakerState::Open { .. } | BreakerState::Probing { .. } => false,
        }
    }

    /// Returns whether a probe is due now.
    pub fn wants_probe(&self, now: Duration) -> bool {
        match self.state {
            BreakerState::Closed => false,
            BreakerState::Open { until, .. } | BreakerState::Probing { until, .. } => now >= until,
        }
    }

    /// Returns what the breaker does with calls now.
    pub fn phase(&self, now: Duration) -> Phase {
        match self.state {
            BreakerState::Closed => Phase::Closed,
            BreakerState::Open { until, .. } if now < until => Phase::Open(until - now),
            BreakerState::Open { .. } | BreakerState::Probing { .. } => Phase::Probing,
        }
    }

    /// Lets the next call pass as a probe without the wait, even if another probe is under way: that one may hang
    /// until its timeout. The length of the next wait does not change.
    pub fn probe_now(&mut self, now: Duration) {
        if let BreakerState::Open { until, wait } | BreakerState::Probing { until, wait } = self.state {
            self.state = BreakerState::Open { until: until.min(now), wait };
        }
    }

    /// Returns whether all calls except probes are turned away.
    pub fn is_open(&self) -> bool {
        self.state != BreakerState::Closed
    }

    /// Records that the endpoint works, and closes the breaker.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.state = BreakerState::Closed;
    }

    /// Records a failure of the endpoint. Returns true if that opens the breaker.
    pub fn failed(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.threshold > 0 && self.failures >= self.threshold => {
                self.state = BreakerState::Open { until: now + FIRST_WAIT, wait: FIRST_WAIT };
                true
            }
            BreakerState::Probing { wait, .. } => {
                let wait = (wait * 2).clamp(FIRST_WAIT, self.longest_wait.max(FIRST_WAIT));
                self.state = BreakerState::Open { until: now + wait, wait };
                false
            }
            // Failures of calls that were under way when the breaker opened are not news.
            BreakerState::Closed | BreakerState::Open { .. } => false,
        }
    }

    /// Records that the endpoint wants no calls for a while. Returns true if that opens the breaker.
    pub fn pause(&mut self, now: Duration, pause: Duration) -> bool {
        let asked = now + pause.min(self.longest_wait);
        match self.state {
            BreakerState::Closed => {
                self.state = BreakerState::Open { until: asked, wait: FIRST_WAIT };
                true
            }
            BreakerState::Open { until, wait } | BreakerState::Probing { until, wait } => {
                self.state = BreakerState::Open { until: until.max(asked), wait };
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new(3, LONGEST);
        assert!(!breaker.failed(at(0)) && !breaker.failed(at(0)) && breaker.failed(at(0)));
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_alone() {
        let mut breaker = Breaker::new(3, LONGEST);
        for _ in 0..9 {
            assert!(!breaker.failed(at(0)) && !breaker.failed(at(0)));
            breaker.succeeded();
        }
        assert!(breaker.admits(at(0)));
        assert!(!open().admits(at(0)));
    }

    #[test]
    fn one_probe_at_a_time_each_after_a_longer_wait() {
        let mut breaker = open();
        let mut now = at(0);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!breaker.admits(now + at(wait) - Duration::from_millis(1)), "{wait}");
            now += at(wait);
            assert!(breaker.admits(now), "{wait}");
            assert!(!breaker.admits(now), "a second probe during the first");
            assert!(!breaker.failed(now));
        }
        assert!(breaker.admits(now + at(30)));
        breaker.succeeded();
        assert!(breaker.admits(now) && breaker.admits(now) && !breaker.is_open());
    }

    #[test]
    fn a_probe_that_is_never_heard_of_does_not_keep_it_open() {
        let mut breaker = open();
        assert!(breaker.admits(at(1)));
        assert!(!breaker.admits(at(1)));
        assert!(breaker.admits(at(2)));
    }

    #[test]
    fn a_probe_can_be_asked_for_at_any_time() {
        let mut breaker = Breaker::new(0, LONGEST);
        breaker.probe_now(at(0));
        assert_eq!(breaker.phase(at(0)), Phase::Closed);
        breaker.pause(at(0), at(20));
        assert_eq!(breaker.phase(at(5)), Phase::Open(at(15)));
        breaker.probe_now(at(5));
        assert_eq!(breaker.phase(at(5)), Phase::Probing);
        assert!(breaker.admits(at(5)) && !breaker.admits(at(5)));
        breaker.probe_now(at(5));
        assert!(breaker.admits(at(5)), "the probe that is under way may hang");
        assert!(!breaker.admits(at(5)), "one for each order");
    }

    #[test]
    fn a_pause_is_what_was_asked_for_up_to_the_longest_wait() {
        let mut breaker = Breaker::new(0, LONGEST);
        assert!(breaker.pause(at(0), at(7)));
        assert!(!breaker.admits(at(6)) && breaker.admits(at(7)));
        assert!(!breaker.pause(at(7), at(9999)));
        assert!(!breaker.admits(at(36)) && breaker.admits(at(37)));
    }

    #[test]
    fn a_threshold_of_none_never_opens() {
        let mut breaker = Breaker::new(0, LONGEST);
        assert!((0..1000).all(|_| !breaker.failed(at(0))));
        assert!(breaker.admits(at(0)));
    }

    proptest! {
        /// After any steps a call passes within the longest wait, so nothing is stuck forever.
        #[test]
        fn it_always_lets_a_probe_pass_in_time(steps in prop::collection::vec((0u8..4, 0u64..40), 0..60)) {
            let mut breaker = Breaker::new(2, LONGEST);
            let mut now = Duration::ZERO;
            for (what, seconds) in steps {
                now += at(seconds);
                match what {
                    0 => breaker.succeeded(),
                    1 => drop(breaker.failed(now)),
                    2 => drop(breaker.pause(now, at(seconds * 10))),
                    _ => drop(breaker.admits(now)),
                }
            }
            prop_assert!(breaker.admits(now + LONGEST));
        }
    }
}
