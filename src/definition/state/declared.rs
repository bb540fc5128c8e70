//! The declared tables among the definitions.

use std::collections::BTreeMap;

use super::{DefinitionChanges, TableKey, remove_nested};
use crate::definition::Table;
use crate::id::{AccountId, TableId};

/// All declared tables, indexed by id and by account and name. An id is derived from account and name, so each pair
/// has one table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DeclaredTables {
    tables: BTreeMap<TableId, Table>,
    by_name: BTreeMap<AccountId, BTreeMap<Box<str>, TableId>>,
}

impl DeclaredTables {
    pub fn by_id(&self, id: TableId) -> Option<&Table> {
        self.tables.get(&id)
    }

    pub fn by_name(&self, account: &AccountId, name: &str) -> Option<&Table> {
        self.by_id(*self.by_name.get(account)?.get(name)?)
    }

    /// An account's declared tables, by name.
    pub fn of(&self, account: &AccountId) -> impl Iterator<Item = &Table> {
        self.by_name.get(account).into_iter().flat_map(BTreeMap::values).map(|id| &self.tables[id])
    }

    /// All declared tables, by id.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Table> {
        self.tables.values()
    }

    /// Replaces the table with this id by `table`, which has the same id, or removes it.
    pub fn replace(&mut self, id: TableId, table: Option<Table>, changes: &mut DefinitionChanges) {
        if self.tables.get(&id) == table.as_ref() {
            return;
        }
        if let Some(before) = self.tables.remove(&id) {
            changes.declarations.insert(TableKey::of(&before));
            remove_nested(&mut self.by_name, &before.account, |names| {
                names.remove(before.name.as_str());
                names.is_empty()
            });
        }
        if let Some(table) = table {
            changes.declarations.insert(TableKey::of(&table));
            self.by_name.entry(table.account.clone()).or_default().insert(table.name.as_str().into(), id);
            self.tables.insert(id, table);
        }
    }
}
