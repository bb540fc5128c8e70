//! Gaps between the offsets of consecutive records, and which of them retention has made.
//!
//! Compaction, aborted transactions and transaction markers leave gaps too. A client that finds its offset deleted
//! continues at the oldest record and only logs a line. So each gap is compared with the start of the log, which the
//! client reports in its statistics some seconds later.

use std::ops::Range;

use tracing::error;

/// Max gaps kept between two statistics. Short transactions make a large number of gaps.
const MAX_GAPS: usize = 10_000;

/// How many statistics a gap is compared with: the first may have been made before the gap was seen.
const MAX_COMPARISONS: u64 = 2;

/// The gaps of one partition whose cause is not known yet.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    gaps: Vec<Range<i64>>,
    /// The number of the last statistics before the first gap.
    last_statistics_before_gap: u64,
}

/// The start of a log, by the statistics with this number.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogStart {
    pub statistics_number: u64,
    pub offset: i64,
}

impl Gaps {
    pub(super) fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Adds a gap. It is compared with statistics later than number `statistics`; 0 if the gap is older than all
    /// statistics that may follow.
    pub(super) fn add(&mut self, gap: Range<i64>, statistics: u64) {
        if self.gaps.is_empty() {
            self.last_statistics_before_gap = statistics;
        }
        if self.gaps.len() < MAX_GAPS {
            self.gaps.push(gap);
        }
    }

    /// The offsets that were deleted unread: those of the gap in which the log begins. If the log begins behind a
    /// gap, the gap's cause is unknown, because records that were read are deleted too.
    pub(super) fn find_deleted(&mut self, start: LogStart) -> Option<Range<i64>> {
        if start.statistics_number == self.last_statistics_before_gap {
            return None;
        }
        let begins_in = |gap: &&Range<i64>| gap.start < start.offset && start.offset <= gap.end;
        let deleted = self.gaps.iter().find(begins_in).map(|gap| gap.start..start.offset);
        if deleted.is_some() || start.statistics_number >= self.last_statistics_before_gap + MAX_COMPARISONS {
            self.gaps.clear();
        }
        deleted
    }
}

/// Logs and counts offsets that were deleted unread.
pub(super) fn report_deleted(topic: &str, partition: i32, deleted: &Range<i64>) {
    let (first, last) = (deleted.start, deleted.end - 1);
    error!(topic, partition, first, last, "offsets were deleted by the topic's retention before they were read");
    let count = u64::try_from(deleted.end - deleted.start).unwrap_or_default();
    metrics::counter!("outhook_records_deleted_unread_total", "topic" => topic.to_owned()).increment(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(statistics: u64, offset: i64) -> LogStart {
        LogStart { statistics_number: statistics, offset }
    }

    #[test]
    fn gap_that_contains_the_log_start_was_made_by_retention() {
        let mut gaps = Gaps::default();
        gaps.add(3..4, 7);
        gaps.add(5..12, 7);
        assert_eq!(gaps.find_deleted(start(7, 0)), None, "no newer statistics");
        assert_eq!(gaps.find_deleted(start(8, 12)), Some(5..12));
        assert!(gaps.is_empty());
        // The record behind the start may be missing for another reason.
        gaps.add(20..30, 8);
        assert_eq!(gaps.find_deleted(start(9, 28)), Some(20..28));
    }

    #[test]
    fn other_gaps_are_forgotten_after_two_statistics() {
        let mut gaps = Gaps::default();
        gaps.add(3..4, 7);
        gaps.add(9..10, 8);
        assert_eq!(gaps.find_deleted(start(8, 0)), None);
        assert!(!gaps.is_empty(), "these statistics may be older than the gap");
        assert_eq!(gaps.find_deleted(start(9, 50)), None, "the log begins behind the gaps");
        assert!(gaps.is_empty());
    }

    #[test]
    fn number_of_remembered_gaps_is_bounded() {
        let mut gaps = Gaps::default();
        (0..3 * MAX_GAPS as i64).for_each(|at| gaps.add(at * 2..at * 2 + 1, 1));
        assert_eq!(gaps.gaps.len(), MAX_GAPS);
    }
}
