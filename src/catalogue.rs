//! Catalogue of the tables and fields seen in the stream, with their types as the API names them, and the newest row
//! change of each table.
//!
//! The [`Sampler`] of a partition scans a row when its shape is new, otherwise at most once a second. Its result is
//! merged into the known fields: a field seen by any partition or instance is known, and so is each kind of value. So
//! instances that exchange what they know agree in the end. The `stats` room stores the catalogue across restarts and
//! passes in the clock.

mod sample;
mod sampler;
mod table;
mod table_schema;
#[cfg(test)]
mod tests;
mod type_inference;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use metrics::{Unit, describe_gauge, gauge};
use parking_lot::{RwLock, RwLockReadGuard};
use tracing::warn;

use self::table::CatalogueTable;

use crate::vocabulary::Operation;

pub use self::sample::Sample;
pub use self::sampler::Sampler;
pub use self::table::TableWrite;
pub use self::type_inference::FieldKind;

/// Prefix of the keys of tables. The account and the table follow, as a JSON array of two texts.
pub const TABLE_PREFIX: &str = "table/";

/// Max tables that an instance knows.
const MAX_TABLES: usize = 10_000;
/// Max fields that an instance knows, over all tables; one table has at most [`table_schema::MAX_FIELDS`].
const MAX_FIELDS: usize = 200_000;
/// Max length of a name that is kept, in bytes.
const MAX_NAME: usize = 256;
/// Max bytes of the newest row changes of all tables.
const MAX_SAMPLE_BYTES: usize = 32 * 1024 * 1024;

/// A record of the stats topic is not that of a table. The text says why.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecord {
    #[error("the key is not table/[\"account\",\"table\"]")]
    Key,
    #[error(transparent)]
    Value(#[from] serde_json::Error),
}

/// Tables and fields seen in the stream. Partitions and readers share it.
#[derive(Default)]
pub struct Catalogue {
    accounts: RwLock<Accounts>,
    usage: Arc<CatalogueUsage>,
    /// Milliseconds since 1970, set about once a second, so reading it costs next to nothing.
    now_ms: AtomicI64,
    is_full_logged: AtomicBool,
}

/// Tables by account, then by name.
type Accounts = BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<CatalogueTable>>>;

/// Space that all tables use together.
#[derive(Default)]
struct CatalogueUsage {
    tables: AtomicUsize,
    fields: AtomicUsize,
    sample_bytes: AtomicUsize,
}

/// A field of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueField {
    pub name: String,
    pub kind: FieldKind,
    /// Milliseconds since 1970.
    pub last_seen_ms: i64,
}

impl Catalogue {
    /// Tables of an account, sorted.
    pub fn tables(&self, account: &str) -> Vec<String> {
        self.accounts().get(account).into_iter().flat_map(BTreeMap::keys).map(|name| name.to_string()).collect()
    }

    /// Fields of a table in the order of its rows. None for a table that was never seen.
    pub fn fields(&self, account: &str, table: &str) -> Option<Vec<CatalogueField>> {
        Some(self.find(account, table)?.fields())
    }

    /// Names of a table's fields; an empty list for a table that was never seen. None once a table or field had no
    /// room, because the names may then be incomplete.
    pub fn names(&self, account: &str, table: &str) -> Option<Vec<String>> {
        let is_whole = !self.is_full_logged.load(Ordering::Relaxed);
        is_whole.then(|| self.fields(account, table).into_iter().flatten().map(|field| field.name).collect())
    }

    pub fn is_known(&self, account: &str, table: &str) -> bool {
        self.find(account, table).is_some()
    }

    /// Newest row change of a table that this instance has read, accurate to about a second: of `operation` if there
    /// is one, otherwise of any operation.
    pub fn newest(&self, account: &str, table: &str, operation: Option<Operation>) -> Option<Arc<Sample>> {
        self.find(account, table)?.newest(operation)
    }

    /// Sets the clock. Called about once a second.
    pub fn set_clock(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        gauge!("outhook_catalogue_tables").set(self.usage.tables.load(Ordering::Relaxed) as f64);
        gauge!("outhook_catalogue_fields").set(self.usage.fields.load(Ordering::Relaxed) as f64);
    }

    /// Merges a record that [`Catalogue::unwritten`] made, on this or another instance. `key` is the part after
    /// [`TABLE_PREFIX`].
    ///
    /// # Errors
    /// The key or the value is invalid.
    pub fn merge_record(&self, key: &str, value: &[u8]) -> Result<(), InvalidRecord> {
        let (account, name): (String, String) = serde_json::from_str(key).map_err(|_| InvalidRecord::Key)?;
        let read = table_schema::read(value)?;
        match self.find_or_add(&account, &name) {
            Some(table) => self.log_if_full(table.merge(&read)),
            None => self.log_if_full(false),
        }
        Ok(())
    }

    /// Tables of which other instances may not know everything. Each table is returned at most once a minute, except
    /// when `last` is set.
    pub fn unwritten(&self, last: bool) -> Vec<TableWrite> {
        let now = self.now();
        let accounts = self.accounts();
        let named =
            accounts.iter().flat_map(|(account, tables)| tables.iter().map(move |(name, t)| (account, name, t)));
        named.filter_map(|(account, name, table)| CatalogueTable::unwritten(table, account, name, now, last)).collect()
    }

    /// Marks all tables as unwritten, because the records written before are gone.
    pub fn mark_all_unwritten(&self) {
        self.accounts().values().flat_map(BTreeMap::values).for_each(|table| table.mark_unwritten());
    }

    fn now(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn accounts(&self) -> RwLockReadGuard<'_, Accounts> {
        self.accounts.read()
    }

    fn find(&self, account: &str, table: &str) -> Option<Arc<CatalogueTable>> {
        self.accounts().get(account)?.get(table).cloned()
    }

    /// Finds a table or adds it. None if there is no room for it, or a name is too long.
    fn find_or_add(&self, account: &str, name: &str) -> Option<Arc<CatalogueTable>> {
        let found = self.find(account, name);
        let is_full = || self.usage.tables.load(Ordering::Relaxed) >= MAX_TABLES;
        if found.is_some() || is_full() || account.len() > MAX_NAME || name.len() > MAX_NAME {
            return found;
        }
        let mut accounts = self.accounts.write();
        if is_full() {
            return None;
        }
        let table = accounts.entry(account.into()).or_default().entry(name.into()).or_insert_with(|| {
            self.usage.tables.fetch_add(1, Ordering::Relaxed);
            Arc::new(CatalogueTable::new(self.usage.clone()))
        });
        Some(table.clone())
    }

    /// Logs once that a table or field had no room.
    fn log_if_full(&self, had_room: bool) {
        if !had_room && !self.is_full_logged.swap(true, Ordering::Relaxed) {
            warn!(
                "the catalogue does not list some tables or fields, because they exceed its limits; their row changes \
                 still fire. The limits are {MAX_TABLES} tables, {} fields per table, {MAX_FIELDS} fields in all, and \
                 names of {MAX_NAME} bytes",
                table_schema::MAX_FIELDS
            );
        }
    }
}

impl CatalogueUsage {
    /// Takes room for a field. Returns false if there is none.
    fn try_reserve_field(&self) -> bool {
        self.fields.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < MAX_FIELDS).then_some(n + 1)).is_ok()
    }

    /// Returns the room of an old sample and takes room for a new one. Returns false if there is none.
    fn try_replace_sample(&self, old: usize, new: usize) -> bool {
        let exchange = |used: usize| {
            let used = used.saturating_sub(old) + new;
            (used <= MAX_SAMPLE_BYTES).then_some(used)
        };
        self.sample_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, exchange).is_ok()
    }
}

/// Registers the metrics with their units and descriptions.
pub fn describe_metrics() {
    describe_gauge!("outhook_catalogue_tables", Unit::Count, "Tables seen in the stream");
    describe_gauge!("outhook_catalogue_fields", Unit::Count, "Fields of the tables seen in the stream");
}
