//! Compiled rules by account and table. A table's rules are replaced as a whole: a record sees one consistent set,
//! and readers never wait for long.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};

use super::TableRules;
use crate::definition::TableKey;
use crate::id::{EventId, WebhookId};
use crate::rules::{CountsByEvent, EventState, Rule, Target};

/// The rules of all tables, and the targets and states that waiting calls need. Partitions read the index, the store
/// writes it.
#[derive(Debug, Default)]
pub struct Index {
    tables: DashMap<TableKey, Arc<TableRules>>,
    targets: DashMap<WebhookId, Arc<Target>>,
    /// States of the active events.
    event_states: DashMap<EventId, EventState>,
    counters: CountsByEvent,
    applied_offset: AtomicI64,
    topic_end: Mutex<Option<TopicEnd>>,
}

/// The end of the definitions topic, with times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicEnd {
    /// The offset after the last record.
    pub offset: i64,
    /// When the topic was first seen to end there.
    pub since_ms: i64,
    /// When the topic was last seen to end there.
    pub seen_ms: i64,
}

impl Index {
    /// Replaces a table's rules; an empty list removes the table.
    pub fn replace(&self, table: &TableKey, rules: Vec<Arc<Rule>>) {
        if rules.is_empty() {
            self.tables.remove(table);
        } else {
            self.tables.insert(table.clone(), Arc::new(TableRules::new(rules)));
        }
    }

    /// A table's current rules. Does not allocate.
    pub fn rules(&self, account: &str, table: &str) -> Option<Arc<TableRules>> {
        self.tables.get(&(account, table) as &dyn TableLookup).map(|rules| rules.clone())
    }

    /// A webhook's current target.
    pub fn target(&self, webhook: WebhookId) -> Option<Arc<Target>> {
        self.targets.get(&webhook).map(|target| target.clone())
    }

    /// The state of an active event.
    pub fn event_state(&self, event: EventId) -> Option<EventState> {
        self.event_states.get(&event).map(|live| live.clone())
    }

    /// Replaces a webhook's target; None removes it.
    pub fn set_target(&self, webhook: WebhookId, target: Option<Arc<Target>>) {
        match target {
            Some(target) => drop(self.targets.insert(webhook, target)),
            None => drop(self.targets.remove(&webhook)),
        }
    }

    /// Marks an event as active. An event that was active before keeps its state, so that its calls under way
    /// continue and see when the event ends later.
    pub fn activate_event(&self, event: EventId) -> EventState {
        self.event_states.entry(event).or_insert_with(|| EventState::new(self.counters.of(event))).clone()
    }

    /// Marks an event as ended: its waiting calls are not made.
    pub fn end(&self, event: EventId) {
        if let Some((_, live)) = self.event_states.remove(&event) {
            live.mark_ended();
        }
    }

    /// Whether no event is active.
    pub fn has_no_active_events(&self) -> bool {
        self.event_states.is_empty()
    }

    /// The offset of the definitions topic up to which the index is current. Another instance may have read further.
    pub fn applied_offset(&self) -> i64 {
        self.applied_offset.load(Ordering::Acquire)
    }

    pub fn set_applied_offset(&self, offset: i64) {
        self.applied_offset.store(offset, Ordering::Release);
    }

    /// The end of the definitions topic when the index was last seen to be current. None before that.
    pub fn topic_end(&self) -> Option<TopicEnd> {
        *self.lock_end()
    }

    /// Records that the definitions topic has no more records than the index has read.
    pub fn record_topic_end(&self, now_ms: i64) {
        let (mut end, offset) = (self.lock_end(), self.applied_offset());
        let since_ms = end.filter(|end| end.offset == offset).map_or(now_ms, |end| end.since_ms);
        *end = Some(TopicEnd { offset, since_ms, seen_ms: now_ms });
    }

    fn lock_end(&self) -> MutexGuard<'_, Option<TopicEnd>> {
        self.topic_end.lock()
    }

    /// The counters of the events that have rules.
    pub fn counters(&self) -> &CountsByEvent {
        &self.counters
    }

    /// The number of tables with rules.
    pub fn table_count(&self) -> usize {
        self.tables.len()
    }
}

/// The lookup key of a table, owned or borrowed. A map with owned pairs as keys can be searched with borrowed pairs
/// only through a type that both can be borrowed as.
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

/// The same hash as the derived one of [`TableKey`]: its account's text, then its table's.
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
