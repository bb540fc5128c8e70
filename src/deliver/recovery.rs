//! The endpoints that have recovered since the last query.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::id::Line;

/// A shorter failure does not count as an outage: calls that failed in it are due soon anyway.
const MIN_OUTAGE: Duration = Duration::from_secs(10);

/// The end of an endpoint's outage, in which its breaker was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    pub line: Line,
    /// How long ago the outage began.
    pub began_ago: Duration,
    /// How long ago the outage ended.
    pub ended_ago: Duration,
}

/// Start and end of the outages of each line since the last query. Several outages of a line count as one.
#[derive(Default)]
pub(super) struct RecoveredEndpoints(Mutex<HashMap<Line, (Instant, Instant)>>);

impl RecoveredEndpoints {
    /// Records that an endpoint works again after it has failed for `lasted`.
    pub fn record(&self, line: Line, lasted: Duration) {
        let now = Instant::now();
        if lasted < MIN_OUTAGE {
            return;
        }
        let began = now.checked_sub(lasted).unwrap_or(now);
        self.outages().entry(line).and_modify(|(_, ended)| *ended = now).or_insert((began, now));
    }

    pub fn take(&self) -> Vec<Recovery> {
        let of = |(line, (began, ended)): (Line, (Instant, Instant))| Recovery {
            line,
            began_ago: began.elapsed(),
            ended_ago: ended.elapsed(),
        };
        std::mem::take(&mut *self.outages()).into_iter().map(of).collect()
    }

    fn outages(&self) -> MutexGuard<'_, HashMap<Line, (Instant, Instant)>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_is_reported_once_and_short_failures_are_ignored() {
        let recovered = RecoveredEndpoints::default();
        recovered.record(Line(1), Duration::from_secs(60));
        recovered.record(Line(1), Duration::from_secs(30));
        recovered.record(Line(2), Duration::from_secs(9));
        let taken = recovered.take();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].line, Line(1));
        let (began, ended) = (taken[0].began_ago, taken[0].ended_ago);
        assert!(began >= Duration::from_secs(60) && ended < Duration::from_secs(1), "{began:?} {ended:?}");
        assert!(recovered.take().is_empty());
    }
}
