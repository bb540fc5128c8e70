//! Lines: the waiting records of a partition. All records of a line wait for the same endpoint or webhook. Pure.
//!
//! A record stays in its topic, and its line keeps only the offset. The record is read again when its line moves. A
//! large number of records can therefore wait in little memory, a line does not block other lines, and each moves at
//! its own pace.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{LineStats, ReleaseLimits, RereadReason};
use crate::id::Line;

/// How long a line pauses after a record could not move although the plan said so.
const STALLED_LINE_PAUSE: Duration = Duration::from_millis(250);

/// Max records of each turn in one plan. The limit keeps plans short, so new arrivals are soon considered.
const MAX_PLANNED: usize = 2048;

/// Min records that a plan allows for each line.
const MIN_PLANNED_PER_LINE: usize = 16;

/// Records to read again, by offset.
pub(super) type Plan = BTreeMap<i64, (Line, RereadReason)>;

/// The waiting records of one partition.
#[derive(Debug, Default)]
pub(super) struct Lines {
    queues: HashMap<Line, LineQueue>,
    waiting_count: usize,
    /// Records arrive in the order of their due times.
    is_ordered_by_due_time: bool,
    /// A review under way: it reads all waiting records again, whether or not their lines move.
    review: Option<Review>,
}

/// The records of one line, by offset.
#[derive(Debug, Default)]
struct LineQueue {
    records: BTreeMap<i64, WaitingRecord>,
    paused_until: Duration,
}

/// A waiting record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaitingRecord {
    /// Its entry in the partition's ledger.
    pub entry: u64,
    /// Until this time the record moves only if its whole line does; milliseconds since 1970.
    pub due_ms: i64,
    /// When the record was written, milliseconds since 1970.
    pub written_ms: i64,
}

/// The offsets that a review has not planned yet: from `next` up to but not including `end`.
#[derive(Debug, Clone, Copy)]
struct Review {
    next: i64,
    end: i64,
}

impl Lines {
    /// `is_timed`: records arrive in the order of their due times.
    pub fn new(is_timed: bool) -> Self {
        Self { is_ordered_by_due_time: is_timed, ..Self::default() }
    }

    /// Adds a waiting record. Records may be added in any order, because a record can be put back.
    pub fn add(&mut self, line: Line, offset: i64, waiting: WaitingRecord) {
        if self.queues.entry(line).or_default().records.insert(offset, waiting).is_none() {
            self.waiting_count += 1;
        }
    }

    /// Removes a record from its line; None if it does not wait there.
    pub fn remove(&mut self, line: Line, offset: i64) -> Option<WaitingRecord> {
        let queue = self.queues.get_mut(&line)?;
        let waiting = queue.records.remove(&offset)?;
        self.waiting_count -= 1;
        if queue.records.is_empty() {
            self.queues.remove(&line);
        }
        Some(waiting)
    }

    /// Whether records wait in a line. A new record of the line must wait behind them.
    pub fn has(&self, line: Line) -> bool {
        self.queues.contains_key(&line)
    }

    /// Number of waiting records.
    pub fn len(&self) -> usize {
        self.waiting_count
    }

    /// When the oldest waiting record was written, milliseconds since 1970. Scans every line.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.queues.values().filter_map(|queue| Some(queue.records.first_key_value()?.1.written_ms)).min()
    }

    /// When the first record is due, milliseconds since 1970. Only for records that arrive in the order of their due
    /// times.
    pub fn first_due_ms(&self) -> Option<i64> {
        self.queues.values().filter_map(|queue| Some(queue.records.first_key_value()?.1.due_ms)).min()
    }

    /// The counts of up to `max_lines` lines, those with the most records.
    pub fn largest_lines(&self, max_lines: usize) -> Vec<LineStats> {
        let of = |(line, queue): (&Line, &LineQueue)| {
            let oldest_ms = queue.records.first_key_value().map_or(0, |(_, first)| first.written_ms);
            LineStats { line: *line, record_count: queue.records.len(), oldest_written_ms: oldest_ms }
        };
        let mut waits: Vec<_> = self.queues.iter().map(of).collect();
        if waits.len() > max_lines {
            waits.select_nth_unstable_by_key(max_lines, |waits| std::cmp::Reverse(waits.record_count));
            waits.truncate(max_lines);
        }
        waits
    }

    /// Pauses a line for [`STALLED_LINE_PAUSE`], because a record was read again and could not move.
    pub fn pause_line(&mut self, line: Line, now: Duration) {
        if let Some(queue) = self.queues.get_mut(&line) {
            queue.paused_until = now + STALLED_LINE_PAUSE;
        }
    }

    /// Starts a review: every record that waits now is read again, a part in each plan.
    pub fn start_review(&mut self) {
        if self.review.is_some() {
            return;
        }
        let last = self.queues.values().filter_map(|queue| queue.records.keys().next_back()).max();
        self.review = last.map(|last| Review { next: i64::MIN, end: last.saturating_add(1) });
    }

    /// Plans which records to read again now, in the order of their offsets. The plan has the first records of each
    /// line that may move, at most the line's `max_records`. When crowded it has records that can wait
    /// elsewhere. During a review it has the review's next part.
    pub fn plan(
        &mut self,
        now: Duration,
        now_ms: i64,
        is_crowded: bool,
        mut release_limits: impl FnMut(Line) -> ReleaseLimits,
    ) -> Plan {
        let mut plan = self.plan_review_part();
        // Records that move early settle behind waiting records, and room for that is limited.
        let allows_early = !(self.is_ordered_by_due_time && is_crowded);
        // Each line has its share of the plan, however many records the other lines have.
        let part = (MAX_PLANNED / self.queues.len().max(1)).max(MIN_PLANNED_PER_LINE);
        let (mut process_capacity, mut relocate_capacity) = (MAX_PLANNED, if is_crowded { MAX_PLANNED } else { 0 });
        for (line, queue) in &self.queues {
            if now < queue.paused_until {
                continue;
            }
            let ReleaseLimits { max_records, only_due, written_from_ms, written_by_ms, can_wait_elsewhere } =
                release_limits(*line);
            let before = plan.len();
            if can_wait_elsewhere && relocate_capacity > 0 {
                let offsets = queue.records.keys().take(relocate_capacity);
                plan.extend(offsets.map(|offset| (*offset, (*line, RereadReason::Relocate))));
                relocate_capacity = relocate_capacity.saturating_sub(plan.len() - before);
            }
            let is_due = |waiting: &WaitingRecord| waiting.due_ms <= now_ms;
            let was_written = |waiting: &WaitingRecord| (written_from_ms..=written_by_ms).contains(&waiting.written_ms);
            let may_move =
                |waiting: &WaitingRecord| !only_due || is_due(waiting) || allows_early && was_written(waiting);
            // Records of a timed partition are in the order of their due times and of their write times. So none can
            // move behind the first record that is neither due nor written by `written_by_ms`.
            let first = queue.records.iter().take_while(|(_, waiting)| {
                !self.is_ordered_by_due_time || is_due(waiting) || waiting.written_ms <= written_by_ms
            });
            let moving = first.filter(|(_, waiting)| may_move(waiting));
            let moving = moving
                .take(max_records.min(process_capacity).min(part))
                .map(|(offset, _)| (*offset, (*line, RereadReason::Process)));
            let count = plan.len();
            plan.extend(moving);
            process_capacity = process_capacity.saturating_sub(plan.len() - count);
        }
        plan
    }

    /// Plans the next part of a review.
    fn plan_review_part(&mut self) -> Plan {
        let Some(Review { next, end }) = self.review else { return Plan::new() };
        let waiting = |(line, queue): (&Line, &LineQueue)| {
            let line = *line;
            let next = queue.records.range(next..end).take(MAX_PLANNED);
            next.map(move |(offset, _)| (*offset, (line, RereadReason::Review))).collect::<Vec<_>>()
        };
        let mut plan: Plan = self.queues.iter().flat_map(waiting).collect();
        let rest = plan.keys().nth(MAX_PLANNED).copied();
        if let Some(rest) = rest {
            plan.split_off(&rest);
        }
        self.review = rest.map(|next| Review { next, end });
        plan
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(9);

    fn lines(waiting: &[(u64, i64, i64)]) -> Lines {
        let mut lines = Lines::default();
        for (line, offset, due_ms) in waiting {
            lines.add(Line(*line), *offset, WaitingRecord { entry: *offset as u64, due_ms: *due_ms, written_ms: 0 });
        }
        lines
    }

    fn moves(max_records: usize, only_due: bool) -> ReleaseLimits {
        ReleaseLimits {
            max_records,
            only_due,
            written_from_ms: i64::MIN,
            written_by_ms: i64::MIN,
            can_wait_elsewhere: false,
        }
    }

    fn offsets(plan: &Plan) -> Vec<i64> {
        plan.keys().copied().collect()
    }

    #[test]
    fn lines_move_independently_and_in_order() {
        let mut lines = lines(&[(1, 10, 0), (2, 11, 0), (1, 12, 0), (2, 13, 0), (1, 14, 0)]);
        let max_records = |line: Line| moves(if line == Line(1) { 2 } else { 0 }, false);
        assert_eq!(offsets(&lines.plan(NOW, 0, false, max_records)), [10, 12]);
        assert!(lines.remove(Line(1), 10).is_some() && lines.remove(Line(1), 10).is_none());
        assert_eq!(offsets(&lines.plan(NOW, 0, false, max_records)), [12, 14]);
        assert_eq!(lines.len(), 4);
        lines.pause_line(Line(1), NOW);
        assert_eq!(offsets(&lines.plan(NOW, 0, false, max_records)), [0; 0]);
        assert_eq!(offsets(&lines.plan(NOW + STALLED_LINE_PAUSE, 0, false, max_records)), [12, 14]);
    }

    #[test]
    fn only_due_records_move_if_others_may_not() {
        let mut lines = lines(&[(1, 10, 500), (1, 11, 0), (1, 12, 100)]);
        let plan = |lines: &mut Lines, only_due| offsets(&lines.plan(NOW, 100, false, |_| moves(9, only_due)));
        assert_eq!(plan(&mut lines, true), [11, 12]);
        assert_eq!(plan(&mut lines, false), [10, 11, 12]);
    }

    #[test]
    fn records_written_in_a_time_range_may_move_before_they_are_due() {
        for is_timed in [false, true] {
            let mut lines = Lines::new(is_timed);
            for offset in 0..4 {
                lines.add(Line(1), offset, WaitingRecord { entry: 0, due_ms: 1000 + offset, written_ms: offset * 10 });
            }
            let plan = |lines: &mut Lines, written_from_ms, written_by_ms, now_ms| {
                let moves = ReleaseLimits { written_from_ms, written_by_ms, ..moves(9, true) };
                offsets(&lines.plan(NOW, now_ms, false, |_| moves))
            };
            assert_eq!(plan(&mut lines, i64::MIN, 10, 100), [0, 1]);
            assert_eq!(plan(&mut lines, 10, 25, 100), [1, 2]);
            assert_eq!(plan(&mut lines, 20, 25, 1000), [0, 2]);
            assert!(plan(&mut lines, i64::MIN, -1, 100).is_empty());
            assert_eq!(lines.first_due_ms(), Some(1000));
        }
    }

    #[test]
    fn lines_with_the_most_records_are_reported() {
        let lines = lines(&[(1, 10, 0), (2, 11, 0), (1, 12, 0), (3, 13, 0), (3, 14, 0)]);
        let mut told = lines.largest_lines(2);
        told.sort_by_key(|waits| waits.line);
        let expected = |line| LineStats { line: Line(line), record_count: 2, oldest_written_ms: 0 };
        assert_eq!(told, [expected(1), expected(3)]);
    }

    #[test]
    fn review_reads_every_waiting_record_once() {
        let still = |_| moves(0, false);
        let waiting: Vec<_> = (0..10_000).map(|offset| (offset as u64 % 3, offset, i64::MAX)).collect();
        let mut lines = lines(&waiting);
        lines.start_review();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.extend(offsets(&lines.plan(NOW, 0, false, still)));
        }
        assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
        assert_eq!(offsets(&lines.plan(NOW, 0, false, still)), [0; 0]);
    }

    #[test]
    fn crowded_partition_moves_out_the_lines_that_can_leave() {
        let mut lines = lines(&[(1, 10, 0), (2, 11, 0), (1, 12, 0)]);
        let failing = |line| ReleaseLimits { can_wait_elsewhere: line == Line(1), ..moves(0, true) };
        assert!(lines.plan(NOW, 0, false, failing).is_empty());
        let plan = lines.plan(NOW, 0, true, failing);
        assert_eq!(plan, [(10, (Line(1), RereadReason::Relocate)), (12, (Line(1), RereadReason::Relocate))].into());
    }

    #[test]
    fn line_keeps_moving_during_a_review() {
        let waiting: Vec<_> = (0..10_000).map(|offset| (1, offset, 0)).chain([(2, 10_000, 0)]).collect();
        let mut lines = lines(&waiting);
        lines.start_review();
        let plan = lines.plan(NOW, 0, false, |line| moves(usize::from(line == Line(2)), false));
        assert_eq!(plan[&0], (Line(1), RereadReason::Review));
        assert_eq!(plan[&10_000], (Line(2), RereadReason::Process));
    }

    proptest! {
        /// After any additions and removals the count is the number of waiting records, and a plan has only waiting
        /// records, at most `max_records` per line.
        #[test]
        fn plan_has_only_waiting_records(steps in prop::collection::vec((0u64..4, 0i64..40, any::<bool>()), 0..200)) {
            let (mut lines, mut model) = (Lines::default(), BTreeMap::new());
            for (line, offset, comes) in steps {
                if comes && !model.contains_key(&offset) {
                    lines.add(Line(line), offset, WaitingRecord { entry: 0, due_ms: 0, written_ms: 0 });
                    model.insert(offset, line);
                } else if lines.remove(Line(line), offset).is_some() {
                    prop_assert_eq!(model.remove(&offset), Some(line));
                }
                prop_assert_eq!(lines.len(), model.len());
                let plan = lines.plan(NOW, 0, false, |_| moves(3, true));
                for line in 0..4 {
                    let expected = model.iter().filter(|(_, of)| **of == line).map(|(offset, _)| *offset).take(3);
                    let planned = plan.iter().filter(|(_, (of, _))| *of == Line(line)).map(|(offset, _)| *offset);
                    prop_assert_eq!(planned.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                }
            }
        }
    }
}
