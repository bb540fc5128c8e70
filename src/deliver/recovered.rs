//! Which endpoints have come to work again, until somebody asks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::id::Line;

/// A shorter failure is no outage: calls that failed in it are due soon anyway.
const OUTAGE: Duration = Duration::from_secs(10);

/// An endpoint works again after an outage, in which its breaker was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    pub line: Line,
    /// How long ago the outage began.
    pub began: Duration,
    /// How long ago it ended.
    pub ended: Duration,
}

/// The outages of each line since somebody asked, as one: when it began and ended.
#[derive(Default)]
pub(super) struct Recovered(Mutex<HashMap<Line, (Instant, Instant)>>);

impl Recovered {
    /// An endpoint works again that failed for so long.
    pub fn tell(&self, line: Line, lasted: Duration) {
        let now = Instant::now();
        if lasted < OUTAGE {
            return;
        }
        let began = now.checked_sub(lasted).unwrap_or(now);
        self.outages().entry(line).and_modify(|(_, ended)| *ended = now).or_insert((began, now));
    }

    pub fn take(&self) -> Vec<Recovery> {
        let of = |(line, (began, ended)): (Line, (Instant, Instant))| Recovery {
            line,
            began: began.elapsed(),
            ended: ended.elapsed(),
        };
        std::mem::take(&mut *self.outages()).into_iter().map(of).collect()
    }

    fn outages(&self) -> MutexGuard<'_, HashMap<Line, (Instant, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_a_short_failure_is_none() {
        let recovered = Recovered::default();
        recovered.tell(Line(1), Duration::from_secs(60));
        recovered.tell(Line(1), Duration::from_secs(30));
        recovered.tell(Line(2), Duration::from_secs(9));
        let taken = recovered.take();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].line, Line(1));
        let (began, ended) = (taken[0].began, taken[0].ended);
        assert!(began >= Duration::from_secs(60) && ended < Duration::from_secs(1), "{began:?} {ended:?}");
        assert!(recovered.take().is_empty());
    }
}
