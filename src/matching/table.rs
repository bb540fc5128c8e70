//! Finds the rules of a table that a row change fires.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decode::{RowChange, UnknownChangePolicy};
use crate::matching::changed_fields;
use crate::rules::Rule;
use crate::vocabulary::Operation;

/// The rules of one table, indexed by what fires them. Numbers are indexes into `rules`.
#[derive(Debug, Default)]
pub struct TableRules {
    rules: Box<[Arc<Rule>]>,
    inserts: Vec<u32>,
    deletes: Vec<u32>,
    /// Rules that an update of any field fires.
    any_field: Vec<u32>,
    /// Rules that an update of certain fields fires, by field.
    by_field: HashMap<Box<str>, Vec<u32>>,
}

impl TableRules {
    pub fn new(rules: Vec<Arc<Rule>>) -> Self {
        let mut table = Self::default();
        for (position, rule) in (0_u32..).zip(&rules) {
            match rule.operation {
                Operation::Insert => table.inserts.push(position),
                Operation::Delete => table.deletes.push(position),
                Operation::Update if rule.fields.is_empty() => table.any_field.push(position),
                Operation::Update => {
                    for field in &rule.fields {
                        table.by_field.entry(field.clone()).or_default().push(position);
                    }
                }
            }
        }
        table.rules = rules.into();
        table
    }

    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rules that a row change fires, each once, in the order passed to [`Self::new`]. `scratch` is a buffer that
    /// the caller reuses between changes.
    pub fn matches<'t>(
        &'t self,
        change: &RowChange<'_>,
        scratch: &'t mut Vec<u32>,
    ) -> impl Iterator<Item = &'t Arc<Rule>> {
        scratch.clear();
        match change.operation {
            Operation::Insert => scratch.extend(&self.inserts),
            Operation::Delete => scratch.extend(&self.deletes),
            Operation::Update => self.collect_updates(change, scratch),
        }
        let source = change.source;
        scratch.iter().map(|position| &self.rules[*position as usize]).filter(move |rule| rule.sources.accept(source))
    }

    /// Collects the update rules. Compares fields only as far as the rules need it.
    fn collect_updates(&self, change: &RowChange<'_>, found: &mut Vec<u32>) {
        let unknown = change.before.is_none();
        let mut changed = changed_fields::fields(change).peekable();
        if !self.any_field.is_empty() && (unknown || changed.peek().is_some()) {
            found.extend(&self.any_field);
        }
        if self.by_field.is_empty() || (unknown && change.unknown_change == UnknownChangePolicy::Skip) {
            return;
        }
        changed.filter_map(|field| self.by_field.get(field)).for_each(|rules| found.extend(rules));
        found.sort_unstable();
        found.dedup();
    }
}
