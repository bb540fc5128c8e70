//! How far Kafka's client has fetched a partition, by its statistics. Pure.
//!
//! Offsets behind the last record are committed by this, so it is used only while no record can be in between.

use super::gaps::LogStart;

/// The fetch state of a partition in the client's statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchState {
    /// The offset that the client fetches next.
    pub next_offset: i64,
    /// Where the log begins.
    pub log_start: i64,
    /// The time by the client's clock, in microseconds.
    pub at_us: i64,
    /// The partition is being fetched, and all fetched records are read.
    pub is_queue_empty: bool,
}

/// How long the client must have fetched the same offset before it is used. Statistics may be older than a seek, a
/// pause or another assignment, but by a second at most.
const MIN_STABLE_US: i64 = 3_000_000;

/// How far Kafka's client has fetched a partition.
#[derive(Debug, Default)]
pub(super) struct FetchProgress {
    /// The next offset to fetch while all fetched records are read, and since when.
    stable_offset: Option<(i64, i64)>,
    /// This offset, once it is steady for long enough. Records that a rebalance removes from the client's queue are
    /// not before it.
    passed_offset: Option<i64>,
    /// The number of statistics so far, and where the log begins.
    statistics_count: u64,
    log_start: i64,
}

impl FetchProgress {
    /// Updates the state from the latest statistics.
    pub(super) fn update(&mut self, state: FetchState) {
        let FetchState { next_offset: next, log_start, at_us, is_queue_empty: is_read_out } = state;
        let since = self.stable_offset.filter(|(offset, _)| *offset == next).map_or(at_us, |(_, since)| since);
        self.stable_offset = (is_read_out && next >= 0).then_some((next, since));
        self.passed_offset = self.stable_offset.filter(|_| at_us - since >= MIN_STABLE_US).map(|(offset, _)| offset);
        self.statistics_count += 1;
        self.log_start = log_start;
    }

    /// Resets the state, because reading continues at another offset.
    pub(super) fn reset(&mut self) {
        (self.stable_offset, self.passed_offset) = (None, None);
    }

    /// The offset before which no record is left to read, once it is known. The caller must have handled all records.
    pub(super) fn take_passed_offset(&mut self) -> Option<i64> {
        self.passed_offset.take()
    }

    pub(super) fn log_start(&self) -> LogStart {
        LogStart { statistics_number: self.statistics_count, offset: self.log_start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(next: i64, seconds: i64, is_read_out: bool) -> FetchState {
        FetchState { next_offset: next, log_start: 0, at_us: seconds * 1_000_000, is_queue_empty: is_read_out }
    }

    /// The passed offset after each of these statistics.
    fn passed<const N: usize>(states: [FetchState; N]) -> [Option<i64>; N] {
        let mut fetched = FetchProgress::default();
        states.map(|state| {
            fetched.update(state);
            fetched.passed_offset
        })
    }

    #[test]
    fn position_is_passed_only_after_it_was_fetched_and_read_for_a_while() {
        assert_eq!(passed([state(7, 0, true), state(7, 5, true), state(8, 10, true)]), [None, Some(7), None]);
        // Records wait in the client's queue, which a rebalance empties: they are fetched again.
        assert_eq!(passed([state(100, 0, false), state(100, 5, false), state(100, 10, true)]), [None, None, None]);
        assert_eq!(passed([state(100, 0, true), state(100, 5, false), state(100, 7, true)]), [None, None, None]);
        // Statistics that are served in a burst, or very often.
        assert_eq!(passed([state(7, 0, true), state(7, 1, true), state(7, 2, true)]), [None, None, None]);
        assert_eq!(passed([state(-1001, 0, true), state(-1001, 9, true)]), [None, None]);
        let mut fetched = FetchProgress::default();
        fetched.update(state(7, 0, true));
        fetched.reset();
        fetched.update(state(7, 5, true));
        assert_eq!(fetched.passed_offset, None, "the statistics may be older than a seek");
    }
}
