//! Selects the rows of a partition to scan, so that most rows cost only a look-up and a few additions per field.

use std::collections::HashMap;
use std::sync::Arc;

use super::table::CatalogueTable;
use super::{Catalogue, Sample};
use crate::decode::{Input, Row, RowChange};

/// Max row shapes kept per table. A row of any other shape is scanned when the next scan is due.
const MAX_SHAPES: usize = 16;

/// Scans row changes of one partition for the catalogue.
pub struct Sampler {
    catalogue: Arc<Catalogue>,
    /// By account, then table.
    seen: HashMap<Box<str>, HashMap<Box<str>, SampledTable>>,
    /// Name of the topic, shared by its samples.
    topic: Arc<str>,
}

/// State of one table in this partition.
struct SampledTable {
    table: Arc<CatalogueTable>,
    /// Time of the last scan of a row, by operation.
    looked_at: [i64; 3],
    shapes: Vec<u64>,
}

impl Sampler {
    pub fn new(catalogue: Arc<Catalogue>, topic: &str) -> Self {
        Self { catalogue, seen: HashMap::new(), topic: topic.into() }
    }

    /// Scans a row change if its shape is new. Otherwise scans at most one per second, which soon finds differences
    /// that a shape does not show.
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

    /// Scans the first row of a table.
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

/// Hash of a row's shape: equal for rows with the same fields, different for most others. It uses each name's length
/// and first byte, because reading whole names would cost more than it shows.
fn shape(row: &Row<'_>) -> u64 {
    row.fields.iter().fold(row.fields.len() as u64, |shape, field| {
        let name = field.name.as_bytes();
        let first = u64::from(name.first().copied().unwrap_or_default());
        (shape ^ (name.len() as u64) << 8 ^ first).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)
    })
}
