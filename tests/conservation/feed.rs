//! The row changes that are written throughout a test.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::oracle::Oracle;
use crate::permanent_webhooks::{APART, RESIDENTS, Resident, SLOW_TABLES, change, table_of};

/// Row changes per batch of the tables without throttled webhooks.
const BATCH: usize = 150;

/// Backlog of a throttled webhook, in seconds of its calls: it always has calls to send.
const WAITING: usize = 20;

/// Counts the row changes: one counter for the fast tables, one for each slow table.
#[derive(Default)]
pub struct Feed {
    counts: [AtomicUsize; 1 + SLOW_TABLES.len()],
}

impl Feed {
    /// The next row changes to write, as keys and values. They are counted before they are written, so every webhook
    /// that is defined by now must receive them.
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

    /// Number of row changes that a throttled webhook lacks for a full backlog.
    fn missing(&self, resident: &Resident, oracle: &Oracle) -> Option<usize> {
        let enough = resident.calls_a_second? * WAITING;
        let waiting = self.count(resident.table) - oracle.settled_to(resident.path);
        Some(enough.saturating_sub(waiting))
    }

    /// Number of row changes of a table and the tables that share its counter.
    pub fn count(&self, table: &str) -> usize {
        self.counts[feed_of(table)].load(Ordering::Acquire)
    }

    /// Number of all row changes.
    pub fn total(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// The row changes of a table, except the first `from` that [`Feed::count`] returned.
    pub fn of_table(&self, table: &'static str, from: usize) -> impl Iterator<Item = usize> + use<> {
        let first = feed_of(table) * APART;
        (first + from..first + self.count(table)).filter(move |change| table_of(*change) == table)
    }
}

/// Index of a table's counter. All fast tables share 0.
fn feed_of(table: &str) -> usize {
    SLOW_TABLES.iter().position(|slow| *slow == table).map_or(0, |place| place + 1)
}
