//! Health of an endpoint. One log line reports that it begins to fail and one that it recovers, instead of one line
//! for each call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Min time between two reports that an endpoint begins to fail.
const QUIET: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Health {
    /// Read at each success, so that a working endpoint takes no lock.
    failing: AtomicBool,
    trouble: Mutex<FailureStreak>,
}

#[derive(Default)]
struct FailureStreak {
    since: Option<Instant>,
    last: Option<Instant>,
    failures: u64,
    told: bool,
    last_told: Option<Instant>,
}

/// An endpoint works again whose failure was reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EndpointRecovery {
    pub failures: u64,
    pub lasted: Duration,
}

impl Health {
    /// Records a failed attempt. Returns whether to report it.
    pub fn failed(&self, now: Instant) -> bool {
        let mut trouble = self.trouble.lock();
        self.failing.store(true, Ordering::Relaxed);
        trouble.since.get_or_insert(now);
        trouble.last = Some(now);
        trouble.failures += 1;
        let tell = !trouble.told && trouble.last_told.is_none_or(|last| now.duration_since(last) >= QUIET);
        if tell {
            trouble.told = true;
            trouble.last_told = Some(now);
        }
        tell
    }

    /// Whether the endpoint fails, and its last failure is more recent than `time`.
    pub fn has_failed_within(&self, time: Duration, now: Instant) -> bool {
        let last = || self.trouble.lock().last;
        self.failing.load(Ordering::Relaxed) && last().is_some_and(|last| now.duration_since(last) < time)
    }

    /// Records a successful attempt. Returns the recovery to report, if any.
    pub fn succeeded(&self, now: Instant) -> Option<EndpointRecovery> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let mut trouble = self.trouble.lock();
        self.failing.store(false, Ordering::Relaxed);
        let since = trouble.since.take()?;
        let recovery = EndpointRecovery { failures: trouble.failures, lasted: now.duration_since(since) };
        trouble.failures = 0;
        std::mem::take(&mut trouble.told).then_some(recovery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_failure_for_a_while_unless_it_works_again() {
        let (health, start) = (Health::default(), Instant::now());
        let hour = Duration::from_secs(3600);
        assert!(!health.has_failed_within(hour, start));
        health.failed(start);
        assert!(health.has_failed_within(hour, start + hour - QUIET));
        assert!(!health.has_failed_within(hour, start + hour));
        health.failed(start + hour);
        health.succeeded(start + hour);
        assert!(!health.has_failed_within(hour, start + hour));
    }

    #[test]
    fn tells_the_first_failure_and_the_recovery() {
        let (health, start) = (Health::default(), Instant::now());
        assert_eq!(health.succeeded(start), None);
        assert!(health.failed(start));
        assert!(!health.failed(start + Duration::from_secs(5)));
        let recovery = health.succeeded(start + Duration::from_secs(9));
        assert_eq!(recovery, Some(EndpointRecovery { failures: 2, lasted: Duration::from_secs(9) }));
        assert_eq!(health.succeeded(start + Duration::from_secs(9)), None);
    }

    #[test]
    fn an_endpoint_that_comes_and_goes_is_told_once_a_minute() {
        let (health, start) = (Health::default(), Instant::now());
        let lines = (0..600u64).filter(|second| {
            let now = start + Duration::from_secs(*second);
            let told = health.failed(now);
            health.succeeded(now);
            told
        });
        assert_eq!(lines.count(), 10);
    }
}
