//! Circuit breaker of an endpoint; pure. Times are counted from the start of the lane.
//!
//! After a number of failures in a row the breaker opens. Calls are turned away then, to wait where they cost nothing,
//! and only an occasional probe finds out whether the endpoint works again. One response without trouble closes the
//! breaker.

use std::time::Duration;

/// What the breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerPhase {
    /// Calls pass.
    Closed,
    /// Calls are turned away until the next probe, which is due after this time.
    Open(Duration),
    /// The next call passes as a probe, or a probe is under way.
    Probing,
}

/// Wait before the first probe. Each failed probe doubles it.
const INITIAL_PROBE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(in crate::deliver) struct Breaker {
    /// Failures in a row that open the breaker. At 0 failures never open it.
    threshold: u32,
    max_probe_wait: Duration,
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
        Self { threshold, max_probe_wait: longest_wait, failures: 0, state: BreakerState::Closed }
    }

    /// Returns whether a call may be sent now. If the breaker is open and the wait is over, that call is the probe.
    pub fn try_admit(&mut self, now: Duration) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open { until, wait } | BreakerState::Probing { until, wait } if now >= until => {
                self.state = BreakerState::Probing { until: now + wait.max(INITIAL_PROBE_WAIT), wait };
                true
            }
            BreakerState::Open { .. } | BreakerState::Probing { .. } => false,
        }
    }

    /// Returns whether a probe is due now.
    pub fn is_probe_due(&self, now: Duration) -> bool {
        match self.state {
            BreakerState::Closed => false,
            BreakerState::Open { until, .. } | BreakerState::Probing { until, .. } => now >= until,
        }
    }

    /// Returns what the breaker does with calls now.
    pub fn phase(&self, now: Duration) -> BreakerPhase {
        match self.state {
            BreakerState::Closed => BreakerPhase::Closed,
            BreakerState::Open { until, .. } if now < until => BreakerPhase::Open(until - now),
            BreakerState::Open { .. } | BreakerState::Probing { .. } => BreakerPhase::Probing,
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
    pub fn record_success(&mut self) {
        self.failures = 0;
        self.state = BreakerState::Closed;
    }

    /// Records a failure of the endpoint. Returns true if that opens the breaker.
    pub fn record_failure(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.threshold > 0 && self.failures >= self.threshold => {
                self.state = BreakerState::Open { until: now + INITIAL_PROBE_WAIT, wait: INITIAL_PROBE_WAIT };
                true
            }
            BreakerState::Probing { wait, .. } => {
                let wait = (wait * 2).clamp(INITIAL_PROBE_WAIT, self.max_probe_wait.max(INITIAL_PROBE_WAIT));
                self.state = BreakerState::Open { until: now + wait, wait };
                false
            }
            // Failures of calls that were under way when the breaker opened are not news.
            BreakerState::Closed | BreakerState::Open { .. } => false,
        }
    }

    /// Records that the endpoint wants no calls for a while. Returns true if that opens the breaker.
    pub fn pause(&mut self, now: Duration, pause: Duration) -> bool {
        let paused_until = now + pause.min(self.max_probe_wait);
        match self.state {
            BreakerState::Closed => {
                self.state = BreakerState::Open { until: paused_until, wait: INITIAL_PROBE_WAIT };
                true
            }
            BreakerState::Open { until, wait } | BreakerState::Probing { until, wait } => {
                self.state = BreakerState::Open { until: until.max(paused_until), wait };
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
        assert!(!breaker.record_failure(at(0)) && !breaker.record_failure(at(0)) && breaker.record_failure(at(0)));
        breaker
    }

    #[test]
    fn breaker_opens_only_after_consecutive_failures() {
        let mut breaker = Breaker::new(3, LONGEST);
        for _ in 0..9 {
            assert!(!breaker.record_failure(at(0)) && !breaker.record_failure(at(0)));
            breaker.record_success();
        }
        assert!(breaker.try_admit(at(0)));
        assert!(!open().try_admit(at(0)));
    }

    #[test]
    fn open_breaker_admits_single_probes_with_growing_waits() {
        let mut breaker = open();
        let mut now = at(0);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!breaker.try_admit(now + at(wait) - Duration::from_millis(1)), "{wait}");
            now += at(wait);
            assert!(breaker.try_admit(now), "{wait}");
            assert!(!breaker.try_admit(now), "a second probe during the first");
            assert!(!breaker.record_failure(now));
        }
        assert!(breaker.try_admit(now + at(30)));
        breaker.record_success();
        assert!(breaker.try_admit(now) && breaker.try_admit(now) && !breaker.is_open());
    }

    #[test]
    fn lost_probe_does_not_block_the_next_probe() {
        let mut breaker = open();
        assert!(breaker.try_admit(at(1)));
        assert!(!breaker.try_admit(at(1)));
        assert!(breaker.try_admit(at(2)));
    }

    #[test]
    fn probe_can_be_ordered_at_any_time() {
        let mut breaker = Breaker::new(0, LONGEST);
        breaker.probe_now(at(0));
        assert_eq!(breaker.phase(at(0)), BreakerPhase::Closed);
        breaker.pause(at(0), at(20));
        assert_eq!(breaker.phase(at(5)), BreakerPhase::Open(at(15)));
        breaker.probe_now(at(5));
        assert_eq!(breaker.phase(at(5)), BreakerPhase::Probing);
        assert!(breaker.try_admit(at(5)) && !breaker.try_admit(at(5)));
        breaker.probe_now(at(5));
        assert!(breaker.try_admit(at(5)), "the probe that is under way may hang");
        assert!(!breaker.try_admit(at(5)), "one for each order");
    }

    #[test]
    fn pause_lasts_as_requested_up_to_the_longest_wait() {
        let mut breaker = Breaker::new(0, LONGEST);
        assert!(breaker.pause(at(0), at(7)));
        assert!(!breaker.try_admit(at(6)) && breaker.try_admit(at(7)));
        assert!(!breaker.pause(at(7), at(9999)));
        assert!(!breaker.try_admit(at(36)) && breaker.try_admit(at(37)));
    }

    #[test]
    fn breaker_with_a_threshold_of_zero_never_opens() {
        let mut breaker = Breaker::new(0, LONGEST);
        assert!((0..1000).all(|_| !breaker.record_failure(at(0))));
        assert!(breaker.try_admit(at(0)));
    }

    proptest! {
        /// After any steps a call passes within the longest wait, so nothing is stuck forever.
        #[test]
        fn probe_always_passes_within_the_longest_wait(steps in prop::collection::vec((0u8..4, 0u64..40), 0..60)) {
            let mut breaker = Breaker::new(2, LONGEST);
            let mut now = Duration::ZERO;
            for (what, seconds) in steps {
                now += at(seconds);
                match what {
                    0 => breaker.record_success(),
                    1 => drop(breaker.record_failure(now)),
                    2 => drop(breaker.pause(now, at(seconds * 10))),
                    _ => drop(breaker.try_admit(now)),
                }
            }
            prop_assert!(breaker.try_admit(now + LONGEST));
        }
    }
}
