//! How far Kafka's client has fetched a partition, by its statistics. Pure.
//!
//! Offsets behind the last record are committed by this, so it is used only while no record can be in between.

use super::gaps::LogStart;

/// The fetch state of a partition in the client's statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchState {
    /// The offset that the client fetches next.
    pub next: i64,
    /// Where the log begins.
    pub log_start: i64,
    /// The time by the client's clock, in microseconds.
    pub at_us: i64,
    /// The partition is being fetched, and all fetched records are read.
    pub is_read_out: bool,
}

/// How long the client must have fetched the same offset before it is used. Statistics may be older than a seek, a
/// pause or another assignment, but by a second at most.
const STEADY_US: i64 = 3_000_000;

/// How far Kafka's client has fetched a partition.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// The next offset to fetch while all fetched records are read, and since when.
    steady: Option<(i64, i64)>,
    /// This offset, once it is steady for long enough. Records that a rebalance removes from the client's queue are
    /// not before it.
    passed: Option<i64>,
    /// The number of statistics so far, and where the log begins.
    statistics: u64,
    log_start: i64,
}

impl Fetched {
    /// Updates the state from the latest statistics.
    pub(super) fn learn(&mut self, state: FetchState) {
        let FetchState { next, log_start, at_us, is_read_out } = state;
        let since = self.steady.filter(|(offset, _)| *offset == next).map_or(at_us, |(_, since)| since);
        self.steady = (is_read_out && next >= 0).then_some((next, since));
        self.passed = self.steady.filter(|_| at_us - since >= STEADY_US).map(|(offset, _)| offset);
        self.statistics += 1;
        self.log_start = log_start;
    }

    /// Resets the state, because reading continues at another offset.
    pub(super) fn forget(&mut self) {
        (self.steady, self.passed) = (None, None);
    }

    /// The offset before which no record is left to read, once it is known. The caller must have handled all records.
    pub(super) fn take_passed(&mut self) -> Option<i64> {
        self.passed.take()
    }

    pub(super) fn log_start(&self) -> LogStart {
        LogStart { statistics: self.statistics, offset: self.log_start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(next: i64, seconds: i64, is_read_out: bool) -> FetchState {
        FetchState { next, log_start: 0, at_us: seconds * 1_000_000, is_read_out }
    }

    /// The passed offset after each of these statistics.
    fn passed<const N: usize>(states: [FetchState; N]) -> [Option<i64>; N] {
        let mut fetched = Fetched::default();
        states.map(|state| {
            fetched.learn(state);
            fetched.passed
        })
    }

    #[test]
    fn only_what_was_fetched_and_read_for_a_while_is_passed() {
        assert_eq!(passed([state(7, 0, true), state(7, 5, true), state(8, 10, true)]), [None, Some(7), None]);
        // Records wait in the client's queue, which a rebalance empties: they are fetched again.
        assert_eq!(passed([state(100, 0, false), state(100, 5, false), state(100, 10, true)]), [None, None, None]);
        assert_eq!(passed([state(100, 0, true), state(100, 5, false), state(100, 7, true)]), [None, None, None]);
        // Statistics that are served in a burst, or very often.
        assert_eq!(passed([state(7, 0, true), state(7, 1, true), state(7, 2, true)]), [None, None, None]);
        assert_eq!(passed([state(-1001, 0, true), state(-1001, 9, true)]), [None, None]);
        let mut fetched = Fetched::default();
        fetched.learn(state(7, 0, true));
        fetched.forget();
        fetched.learn(state(7, 5, true));
        assert_eq!(fetched.passed, None, "the statistics may be older than a seek");
    }
}
