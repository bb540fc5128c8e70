//! (account, table) to compiled rules: a table's rules are replaced whole, so that a record sees one
//! consistent set and readers never wait.

use std::sync::Arc;

use dashmap::DashMap;

use super::Rule;

/// All tables' rules; shared by the partitions that read it and the store that writes it.
#[derive(Default)]
pub struct Index {
    tables: DashMap<Box<str>, Arc<TableRules>>,
}

/// One table's rules, ready to match.
pub struct TableRules {
    pub rules: Vec<Arc<Rule>>,
}
