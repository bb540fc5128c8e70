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
    tables: HashMap<Box<str>, HashMap<Box<str>, SampledTable>>,
    /// Name of the topic, shared by its samples.
    topic: Arc<str>,
}

/// State of one table in this partition.
struct SampledTable {
    table: Arc<CatalogueTable>,
    /// Time of the last scan of a row, by operation.
    scanned_at: [i64; 3],
    shapes: Vec<u64>,
}

impl Sampler {
    pub fn new(catalogue: Arc<Catalogue>, topic: &str) -> Self {
        Self { catalogue, tables: HashMap::new(), topic: topic.into() }
    }

    /// Scans a row change if its shape is new. Otherwise scans at most one per second, which soon finds differences
    /// that a shape does not show.
    pub fn scan_if_due(&mut self, input: &Input<'_>, change: &RowChange<'_>) {
        let Some(row) = change.sent_row() else { return };
        let (now, shape) = (self.catalogue.now(), shape(row));
        let seen = self.tables.get_mut(&*change.account).and_then(|tables| tables.get_mut(&*change.table));
        let Some(seen) = seen else { return self.scan_first_row(input, change, row, shape) };
        let is_new_shape = !seen.shapes.contains(&shape) && seen.shapes.len() < MAX_SHAPES;
        if is_new_shape {
            seen.shapes.push(shape);
        }
        let scanned_at = &mut seen.scanned_at[change.operation as usize];
        if is_new_shape || *scanned_at != now {
            *scanned_at = now;
            let had_room = seen.table.scan_row(change.operation, row, now, || Sample::of(input, &self.topic));
            self.catalogue.log_if_full(had_room);
        }
    }

    #[cfg(test)]
    pub fn table_count(&self) -> usize {
        self.tables.values().map(HashMap::len).sum()
    }

    /// Scans the first row of a table.
    fn scan_first_row(&mut self, input: &Input<'_>, change: &RowChange<'_>, row: &Row<'_>, shape: u64) {
        let Some(table) = self.catalogue.find_or_add(&change.account, &change.table) else {
            return self.catalogue.log_if_full(false);
        };
        let now = self.catalogue.now();
        let had_room = table.scan_row(change.operation, row, now, || Sample::of(input, &self.topic));
        self.catalogue.log_if_full(had_room);
        let mut scanned_at = [i64::MIN; 3];
        scanned_at[change.operation as usize] = now;
        let seen = SampledTable { table, scanned_at, shapes: vec![shape] };
        self.tables.entry((*change.account).into()).or_default().insert((*change.table).into(), seen);
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
