//! (account, table) to compiled rules: a table's rules are replaced whole, so that a record sees one
//! consistent set and readers never wait.

use std::sync::Arc;

use dashmap::DashMap;

use super::Rule;
use crate::definition::TableKey;

/// All tables' rules; shared by the partitions that read it and the store that writes it.
#[derive(Debug, Default)]
pub struct Index {
    tables: DashMap<TableKey, Arc<TableRules>>,
}

/// One table's rules, ready to match.
#[derive(Debug)]
pub struct TableRules {
    rules: Vec<Arc<Rule>>,
}

impl TableRules {
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

impl Index {
    pub fn replace(&self, table: &TableKey, rules: Vec<Arc<Rule>>) {
        if rules.is_empty() {
            self.tables.remove(table);
        } else {
            self.tables.insert(table.clone(), Arc::new(TableRules { rules }));
        }
    }

    pub fn rules(&self, account: &str, table: &str) -> Option<Arc<TableRules>> {
        self.tables.get(&TableKey { account: account.into(), table: table.to_owned() }).map(|rules| rules.clone())
    }
}
