//! (account, table) to compiled rules: a table's rules are replaced whole, so that a record sees one
//! consistent set and readers never wait for long.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use dashmap::DashMap;

use super::{Counts, Rule, TableRules};
use crate::definition::TableKey;

/// All tables' rules; shared by the partitions that read it and the store that writes it.
#[derive(Debug, Default)]
pub struct Index {
    tables: DashMap<TableKey, Arc<TableRules>>,
    counts: Counts,
}

impl Index {
    /// Replaces a table's rules; no rules remove it.
    pub fn replace(&self, table: &TableKey, rules: Vec<Arc<Rule>>) {
        if rules.is_empty() {
            self.tables.remove(table);
        } else {
            self.tables.insert(table.clone(), Arc::new(TableRules::new(rules)));
        }
    }

    /// A table's rules, as they are now. Allocates nothing.
    pub fn rules(&self, account: &str, table: &str) -> Option<Arc<TableRules>> {
        self.tables.get(&(account, table) as &dyn Parts).map(|rules| rules.clone())
    }

    /// What is counted of the events that the rules are made of.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many tables have rules.
    pub fn table_count(&self) -> usize {
        self.tables.len()
    }
}

/// What a table is looked up by, owned or borrowed: a map keyed by owned pairs can be asked with borrowed
/// ones only through a type that both can be seen as.
trait Parts {
    fn parts(&self) -> (&str, &str);
}

impl Parts for TableKey {
    fn parts(&self) -> (&str, &str) {
        (self.account.as_str(), &self.table)
    }
}

impl Parts for (&str, &str) {
    fn parts(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Parts + 'a> for TableKey {
    fn borrow(&self) -> &(dyn Parts + 'a) {
        self
    }
}

/// The same as the derived one of [`TableKey`]: its account's text, then its table's.
impl Hash for dyn Parts + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Parts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Parts + '_ {}
