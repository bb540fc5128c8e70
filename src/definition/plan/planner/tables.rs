//! The part of the planner for declared tables.

use std::collections::HashMap;

use serde_saphyr::Spanned;

use super::{Planner, ProblemReason};
use crate::definition::plan::Change;
use crate::definition::yaml::{FieldEntry, TableEntry};
use crate::definition::{Event, Table, TableField, rules};
use crate::id::{AccountId, TableId};

impl<'p> Planner<'p> {
    /// Plans a table that the file declares.
    pub fn table(&mut self, entry: &'p Spanned<TableEntry>) {
        let (location, entry) = (entry.referenced, &entry.value);
        let subject = || format!("table {:?}", entry.name);
        let Some(account) = self.account(entry.account.as_deref()) else {
            return self.problem(location, subject(), ProblemReason::NoAccount);
        };
        if let Some(line) = self.table_lines.insert((account.clone(), &entry.name), location.line()) {
            return self.problem(location, subject(), ProblemReason::Duplicate(line));
        }
        // The problems of all fields are reported together. One by one, each would take a separate try.
        let Some(fields) = self.fields(entry) else { return };
        let before = self.definitions.table(&account, &entry.name);
        let after = self.build_table(account, entry, fields, before);
        if let Err(refusal) = rules::table(&after) {
            return self.problem(location, subject(), refusal.into());
        }
        self.declared_tables.insert(after.id, after.clone());
        let change =
            Change::between(before, after, |table| self.context.stamp.touch(&mut table.version, &mut table.modified));
        if !change.is_unchanged() {
            self.plan.tables.push(change);
        }
    }

    /// Checks that an event's table may have events, and that it will have the fields that the event names, as far as
    /// they are known. A table or field that the event named `before` stays allowed.
    pub(super) fn known_names(
        &self,
        event: &Event,
        before: Option<&Event>,
        account: &AccountId,
    ) -> Result<(), rules::Violation> {
        let name = event.object_name.as_str();
        let is_named = self.table_lines.contains_key(&(account.clone(), name));
        let stays = |table: &&Table| !self.deletes_tables() && !is_named && table.account == *account;
        let table = match is_named {
            true => self.declared_tables.get(&TableId::of(account, name)),
            false => self.definitions.table(account, name).filter(stays),
        };
        match table {
            Some(table) => rules::known_fields(event, before, table, self.context.seen_fields),
            // A problem of the table itself is reported with the table.
            None if is_named => Ok(()),
            None => {
                let file_tables = self.declared_tables.values().filter(|table| table.account == *account);
                let declared = || file_tables.chain(self.definitions.tables_of(account).filter(stays));
                rules::unknown_table(event, before, declared, self.context.policy)
            }
        }
    }

    /// Whether declared tables that the file does not name are deleted.
    fn deletes_tables(&self) -> bool {
        self.context.prune && !self.table_lines.is_empty()
    }

    /// The fields that a table will have, or None if one of them has a problem.
    fn fields(&mut self, table: &TableEntry) -> Option<Vec<TableField>> {
        let mut lines: HashMap<&str, u64> = HashMap::new();
        let mut fields = Some(Vec::with_capacity(table.fields.len()));
        for Spanned { value: entry, referenced: location, .. } in &table.fields {
            let built = match lines.insert(&entry.name, location.line()) {
                Some(line) => Err(ProblemReason::Duplicate(line)),
                None => build_field(entry),
            };
            match built {
                Ok(field) => fields.iter_mut().for_each(|fields| fields.push(field.clone())),
                Err(reason) => {
                    fields = None;
                    self.problem(*location, format!("field {:?} of table {:?}", entry.name, table.name), reason);
                }
            }
        }
        fields
    }

    fn build_table(
        &self,
        account: AccountId,
        entry: &TableEntry,
        fields: Vec<TableField>,
        before: Option<&Table>,
    ) -> Table {
        Table {
            id: TableId::of(&account, &entry.name),
            account,
            name: entry.name.clone(),
            fields,
            version: before.map_or(1, |before| before.version),
            created: before.map_or_else(|| self.context.stamp.clone(), |before| before.created.clone()),
            modified: before.and_then(|before| before.modified.clone()),
        }
    }

    /// Plans the declared tables that the file does not name, in the accounts that it names. If the file declares no
    /// tables, they stay.
    pub fn plan_unnamed_tables(&mut self) {
        for table in self.accounts().iter().flat_map(|account| self.definitions.tables_of(account)) {
            if self.table_lines.contains_key(&(table.account.clone(), table.name.as_str())) {
                continue;
            }
            if self.deletes_tables() {
                self.plan.tables.push(Change::Delete(table.clone()));
            } else {
                self.plan.unnamed_count += 1;
            }
        }
    }
}

fn build_field(entry: &FieldEntry) -> Result<TableField, ProblemReason> {
    let field = TableField {
        name: entry.name.clone(),
        kind: entry.kind.parse().map_err(rules::Violation::from)?,
        label: entry.label.clone(),
        description: entry.description.clone(),
        unique: entry.unique.unwrap_or(false),
        required: entry.required.unwrap_or(false),
        editable: entry.editable.unwrap_or(true),
    };
    rules::table_field(&field)?;
    Ok(field)
}
