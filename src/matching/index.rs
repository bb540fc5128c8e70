//! (account, table) to compiled rules: a table's rules are replaced whole, so that a record sees one
//! consistent set and readers never wait for long.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use dashmap::DashMap;

use super::TableRules;
use crate::definition::TableKey;
use crate::id::{EventId, WebhookId};
use crate::rules::{CountsByEvent, Live, Rule, Target};

/// All tables' rules, and what calls that have waited need of them; shared by the partitions that read it and the
/// store that writes it.
#[derive(Debug, Default)]
pub struct Index {
    tables: DashMap<TableKey, Arc<TableRules>>,
    targets: DashMap<WebhookId, Arc<Target>>,
    /// Of the active events.
    live: DashMap<EventId, Live>,
    counts: CountsByEvent,
    as_of: AtomicI64,
    end: Mutex<Option<End>>,
}

/// The end of the definitions' log, with times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Behind the last record.
    pub offset: i64,
    /// When it was first seen there.
    pub since_ms: i64,
    /// When it was last seen there.
    pub seen_ms: i64,
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
        self.tables.get(&(account, table) as &dyn TableLookup).map(|rules| rules.clone())
    }

    /// Where a webhook's messages go, as it is now.
    pub fn target(&self, webhook: WebhookId) -> Option<Arc<Target>> {
        self.targets.get(&webhook).map(|target| target.clone())
    }

    /// An active event, as its messages see it.
    pub fn live(&self, event: EventId) -> Option<Live> {
        self.live.get(&event).map(|live| live.clone())
    }

    /// Replaces a webhook's target; None removes it.
    pub fn set_target(&self, webhook: WebhookId, target: Option<Arc<Target>>) {
        match target {
            Some(target) => drop(self.targets.insert(webhook, target)),
            None => drop(self.targets.remove(&webhook)),
        }
    }

    /// An event is active. One that was so before keeps its own, so that its calls under way go on, and are heard
    /// of when it ends later.
    pub fn enliven(&self, event: EventId) -> Live {
        self.live.entry(event).or_insert_with(|| Live::new(self.counts.of(event))).clone()
    }

    /// An event is not active any more: its calls that wait are not made.
    pub fn end(&self, event: EventId) {
        if let Some((_, live)) = self.live.remove(&event) {
            live.end();
        }
    }

    /// Whether no event is active.
    pub fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    /// Up to which offset of the definitions' log all of this is known. What an instance does not know may be known
    /// to another one that has read further.
    pub fn as_of(&self) -> i64 {
        self.as_of.load(Ordering::Acquire)
    }

    pub fn set_as_of(&self, offset: i64) {
        self.as_of.store(offset, Ordering::Release);
    }

    /// That the log had no more than what is known, when it was last seen to end. None before that.
    pub fn log_end(&self) -> Option<End> {
        *self.lock_end()
    }

    /// The log is seen to have no more than what is known.
    pub fn see_end(&self, now_ms: i64) {
        let (mut end, offset) = (self.lock_end(), self.as_of());
        let since_ms = end.filter(|end| end.offset == offset).map_or(now_ms, |end| end.since_ms);
        *end = Some(End { offset, since_ms, seen_ms: now_ms });
    }

    fn lock_end(&self) -> MutexGuard<'_, Option<End>> {
        self.end.lock().expect("nothing that holds this lock can panic")
    }

    /// What is counted of the events that the rules are made of.
    pub fn counts(&self) -> &CountsByEvent {
        &self.counts
    }

    /// How many tables have rules.
    pub fn table_count(&self) -> usize {
        self.tables.len()
    }
}

/// What a table is looked up by, owned or borrowed: a map keyed by owned pairs can be asked with borrowed
/// ones only through a type that both can be seen as.
trait TableLookup {
    fn parts(&self) -> (&str, &str);
}

impl TableLookup for TableKey {
    fn parts(&self) -> (&str, &str) {
        (self.account.as_str(), &self.table)
    }
}

impl TableLookup for (&str, &str) {
    fn parts(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn TableLookup + 'a> for TableKey {
    fn borrow(&self) -> &(dyn TableLookup + 'a) {
        self
    }
}

/// The same as the derived one of [`TableKey`]: its account's text, then its table's.
impl Hash for dyn TableLookup + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn TableLookup + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn TableLookup + '_ {}
