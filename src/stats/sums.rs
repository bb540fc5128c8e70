//! Counts of all runs by event, hour and run, and their sums over the last 30 days. Pure.
//!
//! A run's count of an hour only grows, so of two records of it the larger one is the later one. So it does not
//! matter if a record is read twice, late, or in another order.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::record::{Count, Run};
use crate::id::EventId;
use crate::rules::Totals;

/// Hours that are summed, including the current one: 30 days.
const HOURS: u32 = 30 * 24;

/// Counts of all runs.
pub(super) struct Sums {
    /// Run of this instance.
    run: Run,
    events: HashMap<EventId, OfEvent>,
    /// Oldest hour that is summed.
    oldest: u32,
    /// Own counts that the topic may lack.
    unwritten: BTreeSet<(u32, EventId)>,
}

#[derive(Default)]
struct OfEvent {
    sum: Totals,
    /// Sorted by hour, then run. A cell takes 40 bytes, so hours of many events take little memory.
    cells: Vec<Cell>,
}

struct Cell {
    hour: u32,
    run: Run,
    totals: Totals,
}

impl Sums {
    pub fn new(run: Run) -> Self {
        Self { run, events: HashMap::new(), oldest: 0, unwritten: BTreeSet::new() }
    }

    /// Drops counts older than 30 days. When a clock that was ahead is set back, the oldest hour moves back too.
    /// Otherwise no count would be added until the clock reaches the old time again.
    pub fn move_to(&mut self, hour: u32) {
        let oldest = hour.saturating_add(1).saturating_sub(HOURS);
        if oldest == self.oldest {
            return;
        }
        self.oldest = oldest;
        self.unwritten.retain(|(hour, _)| *hour >= oldest);
        self.events.retain(|_, event| {
            event.forget_before(oldest);
            !event.cells.is_empty()
        });
    }

    /// Adds to the counts of this run.
    pub fn add(&mut self, event: EventId, hour: u32, totals: Totals) {
        if hour >= self.oldest && !totals.is_zero() {
            let run = self.run;
            self.events.entry(event).or_default().change(hour, run, |known| *known += totals);
            self.unwritten.insert((hour, event));
        }
    }

    /// Merges a record of the topic.
    pub fn learn(&mut self, count: Count) {
        // This run's counts in memory are newer than its records.
        if count.run != self.run && count.hour >= self.oldest {
            self.events.entry(count.event).or_default().change(count.hour, count.run, |known| {
                known.messages = known.messages.max(count.totals.messages);
                known.calls = known.calls.max(count.totals.calls);
                known.errors = known.errors.max(count.totals.errors);
            });
        }
    }

    /// Counts of an event over all runs in the last 30 days.
    pub fn of(&self, event: EventId) -> Totals {
        self.events.get(&event).map_or(Totals::default(), |event| event.sum)
    }

    /// Own counts that the topic may lack, oldest hour first, starting after the count `after`.
    pub fn unwritten(&self, after: Option<&Count>, at_most: usize) -> Vec<Count> {
        let own = |&(hour, event): &(u32, EventId)| {
            let totals = self.events.get(&event)?.cell(hour, self.run)?;
            Some(Count { event, hour, run: self.run, totals })
        };
        let after = after.map_or(Bound::Unbounded, |count| Bound::Excluded((count.hour, count.event)));
        self.unwritten.range((after, Bound::Unbounded)).filter_map(own).take(at_most).collect()
    }

    pub fn unwritten_len(&self) -> usize {
        self.unwritten.len()
    }

    /// Marks an own count as written. A count that has grown since then stays unwritten.
    pub fn written(&mut self, count: &Count) {
        let now = self.events.get(&count.event).and_then(|event| event.cell(count.hour, self.run));
        if now.is_none_or(|now| now == count.totals) {
            self.unwritten.remove(&(count.hour, count.event));
        }
    }

    /// Marks all own counts as unwritten, because the topic was recreated and lacks them. Counts of other runs stay
    /// valid.
    pub fn write_all_again(&mut self) {
        for (event, of_event) in &self.events {
            let own = of_event.cells.iter().filter(|cell| cell.run == self.run);
            self.unwritten.extend(own.map(|cell| (cell.hour, *event)));
        }
    }
}

impl OfEvent {
    fn position(&self, hour: u32, run: Run) -> Result<usize, usize> {
        self.cells.binary_search_by_key(&(hour, run), |cell| (cell.hour, cell.run))
    }

    fn cell(&self, hour: u32, run: Run) -> Option<Totals> {
        self.position(hour, run).ok().map(|position| self.cells[position].totals)
    }

    /// Changes a cell and updates the sum.
    fn change(&mut self, hour: u32, run: Run, change: impl FnOnce(&mut Totals)) {
        let position = self.position(hour, run).unwrap_or_else(|position| {
            self.cells.insert(position, Cell { hour, run, totals: Totals::default() });
            position
        });
        change(&mut self.cells[position].totals);
        self.sum_up();
    }

    fn forget_before(&mut self, oldest: u32) {
        let gone = self.cells.partition_point(|cell| cell.hour < oldest);
        if gone > 0 {
            self.cells.drain(..gone);
            self.sum_up();
        }
    }

    fn sum_up(&mut self) {
        self.sum = Totals::default();
        self.cells.iter().for_each(|cell| self.sum += cell.totals);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn totals(messages: u64) -> Totals {
        Totals { messages, calls: 2 * messages, errors: messages / 2 }
    }

    fn event(number: u8) -> EventId {
        EventId::from_random([number; 6])
    }

    #[test]
    fn hours_older_than_thirty_days_are_forgotten() {
        let mut sums = Sums::new(Run(1));
        sums.move_to(1_000);
        sums.add(event(1), 1_000, totals(3));
        sums.learn(Count { event: event(1), hour: 281, run: Run(2), totals: totals(5) });
        sums.learn(Count { event: event(1), hour: 280, run: Run(2), totals: totals(7) });
        assert_eq!(sums.of(event(1)), totals(3).plus(totals(5)));
        sums.move_to(1_001);
        assert_eq!(sums.of(event(1)), totals(3));
        sums.learn(Count { event: event(1), hour: 281, run: Run(2), totals: totals(5) });
        assert_eq!(sums.of(event(1)), totals(3), "an hour that was forgotten does not come back");
        sums.move_to(1_719);
        assert_eq!((sums.of(event(1)), sums.unwritten_len()), (totals(3), 1));
        sums.move_to(1_720);
        assert_eq!((sums.of(event(1)), sums.unwritten_len()), (Totals::default(), 0));
        assert!(sums.events.is_empty());
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_keep_counts_away() {
        let mut sums = Sums::new(Run(1));
        sums.move_to(900_000);
        sums.add(event(1), 1_000, totals(1));
        sums.move_to(1_000);
        sums.add(event(1), 1_000, totals(3));
        assert_eq!(sums.of(event(1)), totals(3));
    }

    #[test]
    fn a_count_that_grew_while_it_was_written_is_written_again() {
        let mut sums = Sums::new(Run(1));
        sums.add(event(1), 10, totals(2));
        let written = sums.unwritten(None, 9);
        sums.add(event(1), 10, totals(2));
        written.iter().for_each(|count| sums.written(count));
        let [count] = sums.unwritten(None, 9).try_into().unwrap();
        assert_eq!(count.totals, totals(4));
        sums.written(&count);
        assert_eq!(sums.unwritten_len(), 0);
        sums.write_all_again();
        sums.add(event(2), 10, totals(1));
        sums.add(event(3), 9, totals(1));
        let [oldest] = sums.unwritten(None, 1).try_into().unwrap();
        assert_eq!((oldest.event, oldest.hour), (event(3), 9));
        assert_eq!(sums.unwritten(Some(&oldest), 1), [count]);
        assert_eq!(sums.unwritten(Some(&count), 9).len(), 1);
        assert_eq!(sums.unwritten(None, 0), []);
    }

    impl Totals {
        fn plus(mut self, more: Totals) -> Totals {
            self += more;
            self
        }
    }

    proptest! {
        /// Every reader of all records gets the right sums, whatever their order and however often each one is read.
        #[test]
        fn every_reader_has_the_sums(
            added in prop::collection::vec((0_u64..3, 1_u8..4, 100_u32..104, 0_u64..9), 0..60),
            write_after in prop::collection::vec(any::<bool>(), 60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            let mut runs: Vec<Sums> = (0..3).map(|run| Sums::new(Run(run))).collect();
            let mut expected: HashMap<EventId, Totals> = HashMap::new();
            let mut topic = Vec::new();
            for ((run, number, hour, messages), write) in added.into_iter().zip(write_after) {
                *expected.entry(event(number)).or_default() += totals(messages);
                let sums = &mut runs[run as usize];
                sums.add(event(number), hour, totals(messages));
                if write {
                    let counts = sums.unwritten(None, 2);
                    counts.iter().for_each(|count| sums.written(count));
                    topic.extend(counts);
                }
            }
            for sums in &mut runs {
                topic.extend(sums.unwritten(None, usize::MAX));
            }
            let again: Vec<Count> = order.iter().filter(|_| !topic.is_empty()).map(|at| *at.get(&topic)).collect();
            let records: Vec<Count> = again.iter().chain(&topic).chain(again.iter().rev()).copied().collect();
            runs.push(Sums::new(Run(99)));
            for sums in &mut runs {
                records.iter().for_each(|count| sums.learn(*count));
                for number in 1..4 {
                    prop_assert_eq!(sums.of(event(number)), expected.get(&event(number)).copied().unwrap_or_default());
                }
            }
        }
    }
}
