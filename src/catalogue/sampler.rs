//! Decides which rows of a partition are looked at, so that most cost no more than a look-up and a few
//! additions a field.

use std::collections::HashMap;
use std::sync::Arc;

use super::table::CatalogueTable;
use super::{Catalogue, Sample};
use crate::decode::{Input, Row, RowChange};

/// How many shapes of a table's rows are told apart. A row of another one is looked at when the next look is due.
const MAX_SHAPES: usize = 16;

/// One partition's eye on what goes by.
pub struct Sampler {
    catalogue: Arc<Catalogue>,
    /// By account, then table.
    seen: HashMap<Box<str>, HashMap<Box<str>, SampledTable>>,
    /// The topic's name, shared by the samples of it.
    topic: Arc<str>,
}

/// A table as this partition has seen it.
struct SampledTable {
    table: Arc<CatalogueTable>,
    /// When a row of each operation was looked at last.
    looked_at: [i64; 3],
    shapes: Vec<u64>,
}

impl Sampler {
    pub fn new(catalogue: Arc<Catalogue>, topic: &str) -> Self {
        Self { catalogue, seen: HashMap::new(), topic: topic.into() }
    }

    /// Looks at a row change, if there may be anything to see. At most once a second otherwise, so that what
    /// the shape does not show is seen soon too.
    pub fn note(&mut self, input: &Input<'_>, change: &RowChange<'_>) {
        let Some(row) = change.sent_row() else { return };
        let (now, shape) = (self.catalogue.now(), shape(row));
        let seen = self.seen.get_mut(&*change.account).and_then(|tables| tables.get_mut(&*change.table));
        let Some(seen) = seen else { return self.begin(input, change, row, shape) };
        let is_new_shape = !seen.shapes.contains(&shape) && seen.shapes.len() < MAX_SHAPES;
        if is_new_shape {
            seen.shapes.push(shape);
        }
        let looked_at = &mut seen.looked_at[change.operation as usize];
        if is_new_shape || *looked_at != now {
            *looked_at = now;
            let had_room = seen.table.look(change.operation, row, now, || Sample::of(input, &self.topic));
            self.catalogue.tell_if_full(had_room);
        }
    }

    #[cfg(test)]
    pub fn table_count(&self) -> usize {
        self.seen.values().map(HashMap::len).sum()
    }

    /// Looks at the first row of a table.
    fn begin(&mut self, input: &Input<'_>, change: &RowChange<'_>, row: &Row<'_>, shape: u64) {
        let Some(table) = self.catalogue.find_or_add(&change.account, &change.table) else {
            return self.catalogue.tell_if_full(false);
        };
        let now = self.catalogue.now();
        let had_room = table.look(change.operation, row, now, || Sample::of(input, &self.topic));
        self.catalogue.tell_if_full(had_room);
        let mut looked_at = [i64::MIN; 3];
        looked_at[change.operation as usize] = now;
        let seen = SampledTable { table, looked_at, shapes: vec![shape] };
        self.seen.entry((*change.account).into()).or_default().insert((*change.table).into(), seen);
    }
}

/// A number that rows with the same fields share, and most others don't: made of each name's length and first
/// byte, since to read all names would cost more than it shows.
fn shape(row: &Row<'_>) -> u64 {
    row.fields.iter().fold(row.fields.len() as u64, |shape, field| {
        let name = field.name.as_bytes();
        let first = u64::from(name.first().copied().unwrap_or_default());
        (shape ^ (name.len() as u64) << 8 ^ first).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)
    })
}
