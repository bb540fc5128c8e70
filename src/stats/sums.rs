//! Counts of all runs by event, hour and run, and their sums over the last 30 days. Pure.
//!
//! A run's count of an hour only grows, so of two records of it the larger one is the later one. So it does not
//! matter if a record is read twice, late, or in another order.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::record::{HourCount, RunId};
use crate::id::EventId;
use crate::rules::Totals;

/// Hours that are summed, including the current one: 30 days.
const SUMMED_HOURS: u32 = 30 * 24;

/// Counts of all runs.
pub(super) struct CountSums {
    /// Run of this instance.
    run: RunId,
    events: HashMap<EventId, EventSums>,
    /// Oldest hour that is summed.
    oldest_hour: u32,
    /// Own counts that the topic may lack.
    unwritten: BTreeSet<(u32, EventId)>,
}

#[derive(Default)]
struct EventSums {
    sum: Totals,
    /// Sorted by hour, then run. A cell takes 40 bytes, so hours of many events take little memory.
    run_hours: Vec<RunHourTotals>,
}

struct RunHourTotals {
    hour: u32,
    run: RunId,
    totals: Totals,
}

impl CountSums {
    pub fn new(run: RunId) -> Self {
        Self { run, events: HashMap::new(), oldest_hour: 0, unwritten: BTreeSet::new() }
    }

    /// Drops counts older than 30 days. When a clock that was ahead is set back, the oldest hour moves back too.
    /// Otherwise no count would be added until the clock reaches the old time again.
    pub fn advance_to(&mut self, hour: u32) {
        let oldest = hour.saturating_add(1).saturating_sub(SUMMED_HOURS);
        if oldest == self.oldest_hour {
            return;
        }
        self.oldest_hour = oldest;
        self.unwritten.retain(|(hour, _)| *hour >= oldest);
        self.events.retain(|_, event| {
            event.drop_before(oldest);
            !event.run_hours.is_empty()
        });
    }

    /// Adds to the counts of this run.
    pub fn add(&mut self, event: EventId, hour: u32, totals: Totals) {
        if hour >= self.oldest_hour && !totals.is_zero() {
            let run = self.run;
            self.events.entry(event).or_default().update_run_hour(hour, run, |known| *known += totals);
            self.unwritten.insert((hour, event));
        }
    }

    /// Merges a record of the topic.
    pub fn merge(&mut self, count: HourCount) {
        // This run's counts in memory are newer than its records.
        if count.run != self.run && count.hour >= self.oldest_hour {
            self.events.entry(count.event).or_default().update_run_hour(count.hour, count.run, |known| {
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
    pub fn unwritten(&self, after: Option<&HourCount>, at_most: usize) -> Vec<HourCount> {
        let own = |&(hour, event): &(u32, EventId)| {
            let totals = self.events.get(&event)?.totals_at(hour, self.run)?;
            Some(HourCount { event, hour, run: self.run, totals })
        };
        let after = after.map_or(Bound::Unbounded, |count| Bound::Excluded((count.hour, count.event)));
        self.unwritten.range((after, Bound::Unbounded)).filter_map(own).take(at_most).collect()
    }

    pub fn unwritten_len(&self) -> usize {
        self.unwritten.len()
    }

    /// Marks an own count as written. A count that has grown since then stays unwritten.
    pub fn mark_written(&mut self, count: &HourCount) {
        let now = self.events.get(&count.event).and_then(|event| event.totals_at(count.hour, self.run));
        if now.is_none_or(|now| now == count.totals) {
            self.unwritten.remove(&(count.hour, count.event));
        }
    }

    /// Marks all own counts as unwritten, because the topic was recreated and lacks them. Counts of other runs stay
    /// valid.
    pub fn mark_all_unwritten(&mut self) {
        for (event, counts) in &self.events {
            let own = counts.run_hours.iter().filter(|cell| cell.run == self.run);
            self.unwritten.extend(own.map(|cell| (cell.hour, *event)));
        }
    }
}

impl EventSums {
    fn position(&self, hour: u32, run: RunId) -> Result<usize, usize> {
        self.run_hours.binary_search_by_key(&(hour, run), |cell| (cell.hour, cell.run))
    }

    fn totals_at(&self, hour: u32, run: RunId) -> Option<Totals> {
        self.position(hour, run).ok().map(|position| self.run_hours[position].totals)
    }

    /// Changes a cell and updates the sum.
    fn update_run_hour(&mut self, hour: u32, run: RunId, change: impl FnOnce(&mut Totals)) {
        let position = self.position(hour, run).unwrap_or_else(|position| {
            self.run_hours.insert(position, RunHourTotals { hour, run, totals: Totals::default() });
            position
        });
        change(&mut self.run_hours[position].totals);
        self.recompute_sum();
    }

    fn drop_before(&mut self, oldest: u32) {
        let gone = self.run_hours.partition_point(|cell| cell.hour < oldest);
        if gone > 0 {
            self.run_hours.drain(..gone);
            self.recompute_sum();
        }
    }

    fn recompute_sum(&mut self) {
        self.sum = Totals::default();
        self.run_hours.iter().for_each(|cell| self.sum += cell.totals);
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
        let mut sums = CountSums::new(RunId(1));
        sums.advance_to(1_000);
        sums.add(event(1), 1_000, totals(3));
        sums.merge(HourCount { event: event(1), hour: 281, run: RunId(2), totals: totals(5) });
        sums.merge(HourCount { event: event(1), hour: 280, run: RunId(2), totals: totals(7) });
        assert_eq!(sums.of(event(1)), totals(3).plus(totals(5)));
        sums.advance_to(1_001);
        assert_eq!(sums.of(event(1)), totals(3));
        sums.merge(HourCount { event: event(1), hour: 281, run: RunId(2), totals: totals(5) });
        assert_eq!(sums.of(event(1)), totals(3), "an hour that was forgotten does not come back");
        sums.advance_to(1_719);
        assert_eq!((sums.of(event(1)), sums.unwritten_len()), (totals(3), 1));
        sums.advance_to(1_720);
        assert_eq!((sums.of(event(1)), sums.unwritten_len()), (Totals::default(), 0));
        assert!(sums.events.is_empty());
    }

    #[test]
    fn clock_that_was_ahead_does_not_lose_counts() {
        let mut sums = CountSums::new(RunId(1));
        sums.advance_to(900_000);
        sums.add(event(1), 1_000, totals(1));
        sums.advance_to(1_000);
        sums.add(event(1), 1_000, totals(3));
        assert_eq!(sums.of(event(1)), totals(3));
    }

    #[test]
    fn a_count_that_grew_while_it_was_written_is_written_again() {
        let mut sums = CountSums::new(RunId(1));
        sums.add(event(1), 10, totals(2));
        let written = sums.unwritten(None, 9);
        sums.add(event(1), 10, totals(2));
        written.iter().for_each(|count| sums.mark_written(count));
        let [count] = sums.unwritten(None, 9).try_into().unwrap();
        assert_eq!(count.totals, totals(4));
        sums.mark_written(&count);
        assert_eq!(sums.unwritten_len(), 0);
        sums.mark_all_unwritten();
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
        fn all_readers_converge_to_the_same_sums(
            added in prop::collection::vec((0_u64..3, 1_u8..4, 100_u32..104, 0_u64..9), 0..60),
            write_after in prop::collection::vec(any::<bool>(), 60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            let mut runs: Vec<CountSums> = (0..3).map(|run| CountSums::new(RunId(run))).collect();
            let mut expected: HashMap<EventId, Totals> = HashMap::new();
            let mut topic = Vec::new();
            for ((run, number, hour, messages), write) in added.into_iter().zip(write_after) {
                *expected.entry(event(number)).or_default() += totals(messages);
                let sums = &mut runs[run as usize];
                sums.add(event(number), hour, totals(messages));
                if write {
                    let counts = sums.unwritten(None, 2);
                    counts.iter().for_each(|count| sums.mark_written(count));
                    topic.extend(counts);
                }
            }
            for sums in &mut runs {
                topic.extend(sums.unwritten(None, usize::MAX));
            }
            let again: Vec<HourCount> = order.iter().filter(|_| !topic.is_empty()).map(|at| *at.get(&topic)).collect();
            let records: Vec<HourCount> = again.iter().chain(&topic).chain(again.iter().rev()).copied().collect();
            runs.push(CountSums::new(RunId(99)));
            for sums in &mut runs {
                records.iter().for_each(|count| sums.merge(*count));
                for number in 1..4 {
                    prop_assert_eq!(sums.of(event(number)), expected.get(&event(number)).copied().unwrap_or_default());
                }
            }
        }
    }
}
