//! Sample tables with an endless, realistic stream of changes, each with the events that it must fire.
//!
//! Deterministic: the seed and the passed times determine every byte.

mod event;
mod rows;
#[cfg(test)]
mod tests;
mod words;

use fastrand::Rng;
use jiff::Timestamp;
use serde::Serialize;

pub use self::event::SampleEvent;
use self::rows::{Admin, Customer, Operation, Product, SampleOrder, SampleRow, chance, pick};

/// The kinds of programs that make changes, as a record names them.
pub const SOURCES: [&str; 7] =
    ["Datasheet", "DataPages", "DataParts", "Extensions", "RESTAPIs", "TriggeredActions", "Tasks"];

/// Max rows of a table. A full table deletes instead of inserting.
const MAX_ROWS: usize = 500;

/// One sample change, ready to produce.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The `id` of the record. Its message ids are derived from it.
    pub id: String,
    pub table: &'static str,
    /// The Kafka key: all changes of a row are in one partition.
    pub key: String,
    /// The value, in the `outhook` format.
    pub record: Vec<u8>,
    /// The events that it must fire. It must fire no other event.
    pub fires: Vec<SampleEvent>,
}

/// All sample tables.
pub struct Sample {
    rng: Rng,
    made: u64,
    customers: Table<Customer>,
    admins: Table<Admin>,
    orders: Table<SampleOrder>,
    products: Table<Product>,
}

impl Sample {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            made: 0,
            customers: Table::default(),
            admins: Table::default(),
            orders: Table::default(),
            products: Table::default(),
        }
    }

    /// Makes the next change, with the time `now`.
    pub fn next(&mut self, now: Timestamp) -> Change {
        self.made += 1;
        let id = format!("sample-{}", self.made);
        match self.rng.u64(..100) {
            0..40 => self.orders.change(id, now, &mut self.rng),
            40..80 => self.customers.change(id, now, &mut self.rng),
            80..90 => self.admins.change(id, now, &mut self.rng),
            _ => self.products.change(id, now, &mut self.rng),
        }
    }
}

/// The existing rows of one table.
struct Table<R> {
    rows: Vec<R>,
    born: u64,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), born: 0 }
    }
}

impl<R: SampleRow> Table<R> {
    fn change(&mut self, id: String, now: Timestamp, rng: &mut Rng) -> Change {
        let source = chance(rng, 90).then(|| pick(rng, &SOURCES));
        let made = Made { id, now, source };
        match rng.u64(..100) {
            _ if self.rows.is_empty() => self.insert(made, rng),
            0..30 if self.rows.len() < MAX_ROWS => self.insert(made, rng),
            30..80 => self.update(made, rng),
            _ => self.delete(made, rng),
        }
    }

    fn insert(&mut self, made: Made, rng: &mut Rng) -> Change {
        self.born += 1;
        let row = R::new(self.born, made.now, rng);
        let change = made.into_change(Operation::Insert, None, Some(&row), R::fires(Operation::Insert));
        self.rows.push(row);
        change
    }

    fn update(&mut self, made: Made, rng: &mut Rng) -> Change {
        let index = rng.usize(..self.rows.len());
        let row = &mut self.rows[index];
        let before = row.clone();
        row.alter(rng);
        let fires = R::update_fires(&before, row, made.source);
        made.into_change(Operation::Update, Some(&before), Some(row), fires)
    }

    fn delete(&mut self, made: Made, rng: &mut Rng) -> Change {
        let index = rng.usize(..self.rows.len());
        let row = self.rows.swap_remove(index);
        made.into_change(Operation::Delete, Some(&row), None, R::fires(Operation::Delete))
    }
}

/// The parts of a change that do not depend on its rows.
struct Made {
    id: String,
    now: Timestamp,
    source: Option<&'static str>,
}

impl Made {
    fn into_change<R: SampleRow>(
        self,
        operation: Operation,
        before: Option<&R>,
        after: Option<&R>,
        fires: Vec<SampleEvent>,
    ) -> Change {
        let record = Record {
            id: &self.id,
            table: R::TABLE,
            operation,
            source: self.source,
            time: format!("{:.6}", self.now),
            before,
            after,
        };
        let record = serde_json::to_vec(&record).expect("rows are strings, numbers, booleans and nulls");
        let key = before.or(after).map(R::key).expect("a change has at least one row");
        Change { id: self.id, table: R::TABLE, key, record, fires }
    }
}

/// A record of the `outhook` format.
#[derive(Serialize)]
struct Record<'a, R> {
    id: &'a str,
    table: &'a str,
    operation: Operation,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    time: String,
    before: Option<&'a R>,
    after: Option<&'a R>,
}
