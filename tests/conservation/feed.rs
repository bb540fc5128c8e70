//! The row changes that are written all the time.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::oracle::Oracle;
use crate::residents::{APART, RESIDENTS, Resident, SLOW_TABLES, change, table_of};

/// How many row changes are written at once of the tables that nobody is slow to hear of.
const BATCH: usize = 150;

/// How many seconds' calls wait for a throttled webhook: enough that it always has some to send.
const WAITING: usize = 20;

/// How many row changes there are: those of slow tables behind the others.
#[derive(Default)]
pub struct Feed {
    counts: [AtomicUsize; 1 + SLOW_TABLES.len()],
}

impl Feed {
    /// The next row changes to be written, as keys and values. They are counted before they are written: what is
    /// defined by now, they must all go to.
    pub fn next(&self, oracle: &Oracle) -> Vec<(String, String)> {
        let slow = RESIDENTS.iter().filter_map(|resident| Some((resident, self.missing(resident, oracle)?)));
        [("orders", BATCH)]
            .into_iter()
            .chain(slow.map(|(resident, missing)| (resident.table, missing)))
            .flat_map(|(table, count)| {
                let feed = feed_of(table);
                let first = feed * APART + self.counts[feed].fetch_add(count, Ordering::AcqRel);
                (first..first + count).map(change)
            })
            .collect()
    }

    /// How many row changes a throttled webhook is to get, so that it has enough to send.
    fn missing(&self, resident: &Resident, oracle: &Oracle) -> Option<usize> {
        let enough = resident.calls_a_second? * WAITING;
        let waiting = self.count(resident.table) - oracle.settled_to(resident.path);
        Some(enough.saturating_sub(waiting))
    }

    /// How many row changes there are of a table and those that are written together with it.
    pub fn count(&self, table: &str) -> usize {
        self.counts[feed_of(table)].load(Ordering::Acquire)
    }

    /// How many row changes there are.
    pub fn total(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// The row changes of a table, without those that [`Feed::count`] had counted by a moment.
    pub fn of_table(&self, table: &'static str, from: usize) -> impl Iterator<Item = usize> + use<> {
        let first = feed_of(table) * APART;
        (first + from..first + self.count(table)).filter(move |change| table_of(*change) == table)
    }
}

/// Which numbers a table's changes have: 0 is where all tables are that nobody is slow to hear of.
fn feed_of(table: &str) -> usize {
    SLOW_TABLES.iter().position(|slow| *slow == table).map_or(0, |place| place + 1)
}
