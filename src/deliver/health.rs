//! Health of an endpoint. One log line reports that it begins to fail and one that it recovers, instead of one line
//! for each call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Min time between two reports that an endpoint begins to fail.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct EndpointHealth {
    /// Read at each success, so that a working endpoint takes no lock.
    failing: AtomicBool,
    failure_streak: Mutex<FailureStreak>,
}

#[derive(Default)]
struct FailureStreak {
    first_failure: Option<Instant>,
    last_failure: Option<Instant>,
    failures: u64,
    is_reported: bool,
    last_reported: Option<Instant>,
}

/// An endpoint works again whose failure was reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EndpointRecovery {
    pub failures: u64,
    pub duration: Duration,
}

impl EndpointHealth {
    /// Records a failed attempt. Returns whether to report it.
    pub fn record_failure(&self, now: Instant) -> bool {
        let mut streak = self.failure_streak.lock();
        self.failing.store(true, Ordering::Relaxed);
        streak.first_failure.get_or_insert(now);
        streak.last_failure = Some(now);
        streak.failures += 1;
        let should_report =
            !streak.is_reported && streak.last_reported.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL);
        if should_report {
            streak.is_reported = true;
            streak.last_reported = Some(now);
        }
        should_report
    }

    /// Whether the endpoint fails, and its last failure is more recent than `time`.
    pub fn has_failed_within(&self, time: Duration, now: Instant) -> bool {
        let last = || self.failure_streak.lock().last_failure;
        self.failing.load(Ordering::Relaxed) && last().is_some_and(|last| now.duration_since(last) < time)
    }

    /// Records a successful attempt. Returns the recovery to report, if any.
    pub fn record_success(&self, now: Instant) -> Option<EndpointRecovery> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let mut streak = self.failure_streak.lock();
        self.failing.store(false, Ordering::Relaxed);
        let since = streak.first_failure.take()?;
        let recovery = EndpointRecovery { failures: streak.failures, duration: now.duration_since(since) };
        streak.failures = 0;
        std::mem::take(&mut streak.is_reported).then_some(recovery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_remembered_until_it_expires_or_the_endpoint_works() {
        let (health, start) = (EndpointHealth::default(), Instant::now());
        let hour = Duration::from_secs(3600);
        assert!(!health.has_failed_within(hour, start));
        health.record_failure(start);
        assert!(health.has_failed_within(hour, start + hour - REPORT_INTERVAL));
        assert!(!health.has_failed_within(hour, start + hour));
        health.record_failure(start + hour);
        health.record_success(start + hour);
        assert!(!health.has_failed_within(hour, start + hour));
    }

    #[test]
    fn first_failure_and_recovery_are_reported() {
        let (health, start) = (EndpointHealth::default(), Instant::now());
        assert_eq!(health.record_success(start), None);
        assert!(health.record_failure(start));
        assert!(!health.record_failure(start + Duration::from_secs(5)));
        let recovery = health.record_success(start + Duration::from_secs(9));
        assert_eq!(recovery, Some(EndpointRecovery { failures: 2, duration: Duration::from_secs(9) }));
        assert_eq!(health.record_success(start + Duration::from_secs(9)), None);
    }

    #[test]
    fn flapping_endpoint_is_reported_once_a_minute() {
        let (health, start) = (EndpointHealth::default(), Instant::now());
        let lines = (0..600u64).filter(|second| {
            let now = start + Duration::from_secs(*second);
            let told = health.record_failure(now);
            health.record_success(now);
            told
        });
        assert_eq!(lines.count(), 10);
    }
}
