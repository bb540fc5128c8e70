//! Whether an endpoint is worth a call now; pure. Times are counted from the lane's birth.
//!
//! After so many failures in a row the breaker opens: calls are turned away, to wait where they cost nothing,
//! and only a probe now and then finds out whether the endpoint works again. One answer that is no trouble
//! closes it.

use std::time::Duration;

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// They pass.
    Closed,
    /// They are turned away until the next probe, in so long.
    Open(Duration),
    /// The next one passes as a probe, or one is under way.
    Probing,
}

/// The first wait before a probe, doubled by each probe that fails.
const FIRST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(in crate::deliver) struct Breaker {
    /// Failures in a row that open it; 0 is never.
    threshold: u32,
    longest_wait: Duration,
    failures: u32,
    state: BreakerState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakerState {
    Closed,
    /// Nothing passes until then.
    Open {
        until: Duration,
        wait: Duration,
    },
    /// One call is on its way to find out; should nothing be heard of it until then, another one may.
    Probing {
        until: Duration,
        wait: Duration,
    },
}

impl Breaker {
    pub fn new(threshold: u32, longest_wait: Duration) -> Self {
        Self { threshold, longest_wait, failures: 0, state: BreakerState::Closed }
    }

    /// Whether a call may go in now. Where it is open and its time has come, the one that may is the probe.
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

    /// Whether a probe may go in now.
    pub fn wants_probe(&self, now: Duration) -> bool {
        match self.state {
            BreakerState::Closed => false,
            BreakerState::Open { until, .. } | BreakerState::Probing { until, .. } => now >= until,
        }
    }

    /// What it does with calls now.
    pub fn phase(&self, now: Duration) -> Phase {
        match self.state {
            BreakerState::Closed => Phase::Closed,
            BreakerState::Open { until, .. } if now < until => Phase::Open(until - now),
            BreakerState::Open { .. } | BreakerState::Probing { .. } => Phase::Probing,
        }
    }

    /// Lets the next call pass as a probe, whatever the wait, and though another probe may be under way: that one may hang
    /// until its timeout. The wait after it is the one that would have come next.
    pub fn probe_now(&mut self, now: Duration) {
        if let BreakerState::Open { until, wait } | BreakerState::Probing { until, wait } = self.state {
            self.state = BreakerState::Open { until: until.min(now), wait };
        }
    }

    /// Whether calls are turned away, but for a probe.
    pub fn is_open(&self) -> bool {
        self.state != BreakerState::Closed
    }

    /// The endpoint has answered as one that works.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.state = BreakerState::Closed;
    }

    /// The endpoint has failed. True if that opens the breaker.
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
            // What was under way when it opened says nothing new.
            BreakerState::Closed | BreakerState::Open { .. } => false,
        }
    }

    /// The endpoint wants no calls for a while. True if that opens the breaker.
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
            assert!(!breaker.admits(now), "a second probe beside the first");
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
        /// Whatever happens, a call passes again within the longest wait, so nothing is stuck for good.
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
