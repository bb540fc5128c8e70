//! All definitions as one state that a log of records builds.
//!
//! A record replaces everything that its key had before. So the last record of each key determines the state,
//! whatever the order of the keys, and a compacted log gives the same state as a complete one.

mod declared;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add as _;
use std::sync::Arc;

use self::declared::DeclaredTables;
use super::record::{self, BadReason, BadRecord, DefinitionKey};
use super::{Client, Event, Keyring, OpenError, Table, TokenKey, Usage, Webhook};
use crate::id::{AccountId, ClientId, EventId, TableId, WebhookId};

/// All webhooks, events and declared tables, indexed by account and name, by webhook, and by table.
#[derive(Debug, Default, PartialEq)]
pub struct Definitions {
    /// Opens the secrets in records.
    keyring: Arc<Keyring>,
    webhooks: BTreeMap<WebhookId, Webhook>,
    /// Boxed, because a map of many large values holds much unused space.
    events: BTreeMap<EventId, Box<Event>>,
    /// Sets of ids, because a log that another program wrote may repeat a name in an account, which the rules do not
    /// allow.
    by_name: BTreeMap<AccountId, BTreeMap<Box<str>, BTreeSet<WebhookId>>>,
    /// Includes events whose webhook is not known.
    by_webhook: BTreeMap<WebhookId, BTreeSet<EventId>>,
    /// Only events whose webhook is known: the webhook says which account the table is in.
    by_table: BTreeMap<TableKey, BTreeSet<EventId>>,
    /// By webhooks, and by events whose webhook is known.
    usage: BTreeMap<AccountId, Usage>,
    declared_tables: DeclaredTables,
    clients: BTreeMap<ClientId, Client>,
    token_key: Option<TokenKey>,
    /// Records whose secrets can't be opened here, and why. The earlier definitions of their keys stay: see
    /// `check_opened`.
    unopened_records: BTreeMap<DefinitionKey, OpenError>,
}

/// Key that rules are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableKey {
    pub account: AccountId,
    pub table: String,
}

/// Changed definitions, and the tables whose rules may have changed. Accumulates over many records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DefinitionChanges {
    pub tables: BTreeSet<TableKey>,
    pub webhooks: BTreeSet<WebhookId>,
    pub events: BTreeSet<EventId>,
    /// Tables whose declaration has changed, and with it every rule on them.
    pub declarations: BTreeSet<TableKey>,
}

impl TableKey {
    /// The key of a declared table.
    pub fn of(table: &Table) -> Self {
        Self { account: table.account.clone(), table: table.name.clone() }
    }
}

impl DefinitionChanges {
    /// Marks all of these definitions as possibly changed.
    pub fn add_all(&mut self, definitions: &Definitions) {
        self.tables.extend(definitions.by_table.keys().cloned());
        self.webhooks.extend(definitions.webhooks.keys());
        self.events.extend(definitions.events.keys());
        self.declarations.extend(definitions.declared_tables.all().map(TableKey::of));
    }
}

/// Result of applying a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    Applied,
    /// The kind of the record is unknown: a newer program wrote it.
    Ignored,
}

impl Definitions {
    /// An empty state, for a log whose secrets these keys open.
    pub fn with_keyring(keys: Arc<Keyring>) -> Self {
        Self { keyring: keys, ..Self::default() }
    }

    /// Applies a record of the log. A record without a value is a tombstone.
    ///
    /// # Errors
    /// The record is not a valid definition. The earlier definition of its key is removed all the same, as after a
    /// restart with a compacted log. It stays only if a secret of the record can't be opened, because then these
    /// definitions are incomplete and must not be used.
    pub fn apply(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        changes: &mut DefinitionChanges,
    ) -> Result<ApplyOutcome, BadRecord> {
        let parsed = DefinitionKey::parse(key);
        if let Ok(Some(key)) = parsed {
            self.unopened_records.remove(&key);
        }
        let outcome = match parsed {
            Ok(None) => return Ok(ApplyOutcome::Ignored),
            Ok(Some(DefinitionKey::Webhook(id))) => {
                let (webhook, outcome) = split(value.map(|value| record::webhook_from_value(id, value, &self.keyring)));
                if self.check_opened(DefinitionKey::Webhook(id), &outcome) {
                    self.replace_webhook(id, webhook, changes);
                }
                outcome
            }
            Ok(Some(DefinitionKey::Event(id))) => {
                let (event, outcome) = split(value.map(|value| record::event_from_value(id, value)));
                self.replace_event(id, event, changes);
                outcome
            }
            Ok(Some(DefinitionKey::Table(id))) => {
                let (table, outcome) = split(value.map(|value| record::table_from_value(id, value)));
                self.declared_tables.replace(id, table, changes);
                outcome
            }
            Ok(Some(DefinitionKey::Client(id))) => {
                self.clients.remove(&id);
                let (client, outcome) = split(value.map(|value| record::client_from_value(id, value)));
                self.clients.extend(client.map(|client| (id, client)));
                outcome
            }
            Ok(Some(DefinitionKey::TokenKey)) => {
                let (key, outcome) = split(value.map(|value| record::token_key_from_value(value, &self.keyring)));
                if self.check_opened(DefinitionKey::TokenKey, &outcome) {
                    self.token_key = key;
                }
                outcome
            }
            // No definition has an invalid key, so deleting one is not an error.
            Err(_) if value.is_none() => Ok(()),
            Err(reason) => Err(reason),
        };
        match outcome {
            Ok(()) => Ok(ApplyOutcome::Applied),
            Err(reason) => Err(BadRecord { key: String::from_utf8_lossy(key).into_owned(), reason }),
        }
    }

    /// Why these definitions are incomplete: a secret is sealed with a key that is not configured here. An instance
    /// that used them would send nothing for an existing webhook, or would write a second webhook of its name.
    pub fn unopened(&self) -> Option<(DefinitionKey, &OpenError)> {
        self.unopened_records.first_key_value().map(|(key, why)| (*key, why))
    }

    /// Whether the secrets of a record could be opened. If not, remembers the record in `unopened_records`.
    fn check_opened(&mut self, key: DefinitionKey, outcome: &Result<(), BadReason>) -> bool {
        let Err(BadReason::Sealed(why)) = outcome else { return true };
        self.unopened_records.insert(key, why.clone());
        false
    }

    pub fn webhook(&self, id: WebhookId) -> Option<&Webhook> {
        self.webhooks.get(&id)
    }

    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.events.get(&id).map(Box::as_ref)
    }

    /// A table's declaration.
    pub fn table(&self, account: &AccountId, name: &str) -> Option<&Table> {
        self.declared_tables.by_name(account, name)
    }

    pub fn table_with_id(&self, id: TableId) -> Option<&Table> {
        self.declared_tables.by_id(id)
    }

    /// The tables that an account declares, by name.
    pub fn tables_of(&self, account: &AccountId) -> impl Iterator<Item = &Table> {
        self.declared_tables.of(account)
    }

    /// All declared tables, by id.
    pub fn declared(&self) -> impl ExactSizeIterator<Item = &Table> {
        self.declared_tables.all()
    }

    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(&id)
    }

    /// All API clients, by id.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = &Client> {
        self.clients.values()
    }

    /// The key that signs tokens, once there is a client.
    pub fn token_key(&self) -> Option<&TokenKey> {
        self.token_key.as_ref()
    }

    /// Usage of an account. Events whose webhook has not been read, or is deleted, are not counted.
    pub fn usage(&self, account: &AccountId) -> Usage {
        self.usage.get(account).copied().unwrap_or_default()
    }

    /// All webhooks, by id.
    pub fn webhooks(&self) -> impl ExactSizeIterator<Item = &Webhook> {
        self.webhooks.values()
    }

    /// All events, by id, including those whose webhook is not known.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.events.values().map(Box::as_ref)
    }

    /// An account's webhooks, by name.
    pub fn webhooks_of(&self, account: &AccountId) -> impl Iterator<Item = &Webhook> {
        self.by_name.get(account).into_iter().flat_map(BTreeMap::values).flatten().map(|id| &self.webhooks[id])
    }

    /// The webhooks of an account with this name. There is more than one only if another program wrote them.
    pub fn webhooks_named(&self, account: &AccountId, name: &str) -> impl Iterator<Item = &Webhook> {
        let ids = self.by_name.get(account).and_then(|names| names.get(name));
        ids.into_iter().flatten().map(|id| &self.webhooks[id])
    }

    /// A webhook's events, by id.
    pub fn events_of(&self, webhook: WebhookId) -> impl Iterator<Item = &Event> + Clone {
        self.by_webhook.get(&webhook).into_iter().flatten().map(|id| &*self.events[id])
    }

    /// Events whose webhook has not been read, or is deleted.
    pub fn orphans(&self) -> impl Iterator<Item = &Event> {
        let missing = self.by_webhook.iter().filter(|(webhook, _)| !self.webhooks.contains_key(webhook));
        missing.flat_map(|(_, events)| events).map(|id| &*self.events[id])
    }

    /// The tables that have events, active or not.
    pub fn tables(&self) -> impl ExactSizeIterator<Item = &TableKey> {
        self.by_table.keys()
    }

    /// A table's events with their webhooks, by the events' ids, active or not.
    pub fn events_on(&self, table: &TableKey) -> impl Iterator<Item = (&Webhook, &Event)> {
        self.by_table.get(table).into_iter().flatten().map(|id| {
            let event = &*self.events[id];
            (&self.webhooks[&event.webhook], event)
        })
    }

    /// A table's active events of enabled webhooks, by the events' ids. Rules are compiled from these.
    pub fn active_events(&self, table: &TableKey) -> impl Iterator<Item = (&Webhook, &Event)> {
        self.events_on(table).filter(|(webhook, event)| webhook.enabled && event.enabled)
    }

    /// Whether an event is active and its webhook enabled.
    pub fn is_active(&self, event: EventId) -> bool {
        let enabled = |webhook: &Webhook| webhook.enabled;
        self.event(event).is_some_and(|event| event.enabled && self.webhook(event.webhook).is_some_and(enabled))
    }

    fn replace_webhook(&mut self, id: WebhookId, webhook: Option<Webhook>, changes: &mut DefinitionChanges) {
        if self.webhooks.get(&id) == webhook.as_ref() {
            return;
        }
        changes.webhooks.insert(id);
        let before = self.webhooks.remove(&id);
        if let Some(Webhook { account, name, .. }) = &before {
            remove_nested(&mut self.by_name, account, |names| {
                remove_nested(names, name.as_str(), |ids| {
                    ids.remove(&id);
                    ids.is_empty()
                });
                names.is_empty()
            });
        }
        if let Some(Webhook { account, name, .. }) = &webhook {
            let names = self.by_name.entry(account.clone()).or_default();
            names.entry(name.as_str().into()).or_default().insert(id);
        }
        for event in self.by_webhook.get(&id).into_iter().flatten() {
            let table = &self.events[event].object_name;
            let key = |webhook: &Webhook| TableKey { account: webhook.account.clone(), table: table.clone() };
            if let Some(before) = &before {
                unlink(&mut self.by_table, key(before), *event, changes);
            }
            if let Some(webhook) = &webhook {
                link(&mut self.by_table, key(webhook), *event, changes);
            }
        }
        let event_usage = self.events_of(id).map(Usage::of_event).fold(Usage::default(), Usage::add);
        if let Some(before) = &before {
            self.subtract_usage(&before.account, Usage::of_webhook(before) + event_usage);
        }
        if let Some(webhook) = &webhook {
            self.add(&webhook.account, Usage::of_webhook(webhook) + event_usage);
        }
        self.webhooks.extend(webhook.map(|webhook| (id, webhook)));
    }

    fn replace_event(&mut self, id: EventId, event: Option<Event>, changes: &mut DefinitionChanges) {
        if self.event(id) == event.as_ref() {
            return;
        }
        changes.events.insert(id);
        if let Some(before) = self.events.remove(&id) {
            remove_nested(&mut self.by_webhook, &before.webhook, |events| {
                events.remove(&id);
                events.is_empty()
            });
            if let Some(table) = self.table_of(&before) {
                self.subtract_usage(&table.account, Usage::of_event(&before));
                unlink(&mut self.by_table, table, id, changes);
            }
        }
        if let Some(event) = event {
            self.by_webhook.entry(event.webhook).or_default().insert(id);
            if let Some(table) = self.table_of(&event) {
                self.add(&table.account, Usage::of_event(&event));
                link(&mut self.by_table, table, id, changes);
            }
            self.events.insert(id, Box::new(event));
        }
    }

    fn add(&mut self, account: &AccountId, more: Usage) {
        let usage = self.usage.entry(account.clone()).or_default();
        *usage = *usage + more;
    }

    fn subtract_usage(&mut self, account: &AccountId, less: Usage) {
        if let Some(usage) = self.usage.get_mut(account) {
            *usage = *usage - less;
            if *usage == Usage::default() {
                self.usage.remove(account);
            }
        }
    }

    /// The table that an event is on, or None while its webhook is not known.
    fn table_of(&self, event: &Event) -> Option<TableKey> {
        let webhook = self.webhooks.get(&event.webhook)?;
        Some(TableKey { account: webhook.account.clone(), table: event.object_name.clone() })
    }
}

type ByTable = BTreeMap<TableKey, BTreeSet<EventId>>;

fn link(by_table: &mut ByTable, table: TableKey, event: EventId, changes: &mut DefinitionChanges) {
    if let Some(events) = by_table.get_mut(&table) {
        events.insert(event);
    } else {
        by_table.insert(table.clone(), BTreeSet::from([event]));
    }
    changes.tables.insert(table);
}

fn unlink(by_table: &mut ByTable, table: TableKey, event: EventId, changes: &mut DefinitionChanges) {
    remove_nested(by_table, &table, |events| {
        events.remove(&event);
        events.is_empty()
    });
    changes.tables.insert(table);
}

/// Removes something inside a map's value, and also the value if `remove` returns that it is empty.
fn remove_nested<K, Q, V>(map: &mut BTreeMap<K, V>, key: &Q, remove: impl FnOnce(&mut V) -> bool)
where
    K: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    if map.get_mut(key).is_some_and(remove) {
        map.remove(key);
    }
}

/// Splits a read result into the definition, if any, and the outcome of reading it.
fn split<T>(read: Option<Result<T, BadReason>>) -> (Option<T>, Result<(), BadReason>) {
    match read.transpose() {
        Ok(definition) => (definition, Ok(())),
        Err(reason) => (None, Err(reason)),
    }
}

#[cfg(test)]
mod tests;
