//! Definitions as they would be with records that are not committed yet.

use std::collections::BTreeSet;

use super::{Client, DefinitionChanges, DefinitionKey, Definitions, Event, LogRecord, Table, TokenKey, Usage, Webhook};
use crate::id::{AccountId, ClientId, EventId, TableId, WebhookId};

/// The committed definitions with drafted records over them. A write decides on these if it shares a transaction with
/// earlier writes. Reading alone costs nothing, and other readers do not see the draft.
pub struct PendingDefinitions<'d> {
    committed: &'d Definitions,
    drafted: Definitions,
    /// The keys that the draft decides, deletions included: a touched key is as in `drafted`.
    draft_keys: BTreeSet<DefinitionKey>,
}

impl<'d> PendingDefinitions<'d> {
    pub fn new(committed: &'d Definitions) -> Self {
        Self { committed, drafted: Definitions::default(), draft_keys: BTreeSet::new() }
    }

    /// The definitions without the draft.
    pub fn committed(&self) -> &'d Definitions {
        self.committed
    }

    /// Adds records to the draft.
    pub fn add(&mut self, records: &[LogRecord]) {
        for record in records {
            let (key, value) = (record.key.to_string(), record.value.as_deref());
            // This program can read the records that it has made.
            let _ = self.drafted.apply(key.as_bytes(), value, &mut DefinitionChanges::default());
            self.draft_keys.insert(record.key);
        }
    }

    /// Whether the definitions already match all of these records.
    pub fn already_match(&self, records: &[LogRecord]) -> bool {
        records.iter().all(|record| self.record(record.key) == *record)
    }

    fn record(&self, key: DefinitionKey) -> LogRecord {
        let record = match key {
            DefinitionKey::Webhook(id) => self.webhook(id).map(LogRecord::webhook),
            DefinitionKey::Event(id) => self.event(id).map(LogRecord::event),
            DefinitionKey::Table(id) => self.table(id).map(LogRecord::table),
            DefinitionKey::Client(id) => self.client(id).map(LogRecord::client),
            DefinitionKey::TokenKey => self.token_key().map(LogRecord::token_key),
        };
        record.unwrap_or(LogRecord::deletion(key))
    }

    /// The definitions in which a key is looked up.
    fn definitions_for(&self, key: DefinitionKey) -> &Definitions {
        if self.draft_keys.contains(&key) { &self.drafted } else { self.committed }
    }

    pub fn webhook(&self, id: WebhookId) -> Option<&Webhook> {
        self.definitions_for(DefinitionKey::Webhook(id)).webhook(id)
    }

    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.definitions_for(DefinitionKey::Event(id)).event(id)
    }

    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.definitions_for(DefinitionKey::Table(id)).table_with_id(id)
    }

    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.definitions_for(DefinitionKey::Client(id)).client(id)
    }

    pub fn token_key(&self) -> Option<&TokenKey> {
        self.definitions_for(DefinitionKey::TokenKey).token_key()
    }

    /// The webhooks of an account with this name.
    pub fn webhooks_named(&self, account: &AccountId, name: &str) -> impl Iterator<Item = &Webhook> {
        let committed = self
            .committed
            .webhooks_named(account, name)
            .filter(|webhook| !self.is_drafted(DefinitionKey::Webhook(webhook.id)));
        committed.chain(self.drafted.webhooks_named(account, name))
    }

    /// A webhook's events.
    pub fn events_of(&self, webhook: WebhookId) -> impl Iterator<Item = &Event> {
        let committed =
            self.committed.events_of(webhook).filter(|event| !self.is_drafted(DefinitionKey::Event(event.id)));
        committed.chain(self.drafted.events_of(webhook))
    }

    /// Usage of an account.
    pub fn usage(&self, account: &AccountId) -> Usage {
        let added_to = |usage: Usage, side: &Definitions| {
            self.draft_keys.iter().fold(usage, |usage, key| usage + self.usage_of(*key, side, account))
        };
        let replaced = added_to(Usage::default(), self.committed);
        added_to(self.committed.usage(account), &self.drafted) - replaced
    }

    /// Usage by a definition on one side of the draft, if it belongs to the account.
    fn usage_of(&self, key: DefinitionKey, side: &Definitions, account: &AccountId) -> Usage {
        let is_own = |webhook: &Webhook| webhook.account == *account;
        let usage = match key {
            DefinitionKey::Webhook(id) => side.webhook(id).filter(|webhook| is_own(webhook)).map(Usage::of_webhook),
            DefinitionKey::Event(id) => {
                // A drafted event's webhook may be committed.
                let webhook = |event: &Event| side.webhook(event.webhook).or_else(|| self.webhook(event.webhook));
                side.event(id).filter(|event| webhook(event).is_some_and(is_own)).map(Usage::of_event)
            }
            DefinitionKey::Table(_) | DefinitionKey::Client(_) | DefinitionKey::TokenKey => None,
        };
        usage.unwrap_or_default()
    }

    fn is_drafted(&self, key: DefinitionKey) -> bool {
        self.draft_keys.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::samples::{event, table, webhook};
    use crate::vocabulary::Operation;

    fn names(draft: &PendingDefinitions<'_>, name: &str) -> Vec<String> {
        draft.webhooks_named(&"acme".into(), name).map(|webhook| webhook.id.to_string()).collect()
    }

    #[test]
    fn drafted_definitions_shadow_committed_ones() {
        let mut committed = Definitions::default();
        let insert = event("event1", "hook01", Operation::Insert, "T", &[]);
        for record in [LogRecord::webhook(&webhook("hook01", "A")), LogRecord::event(&insert)] {
            let key = record.key.to_string();
            committed.apply(key.as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
        }
        let mut draft = PendingDefinitions::new(&committed);
        assert_eq!((names(&draft, "A"), draft.events_of(insert.webhook).count()), (vec!["hook01".to_owned()], 1));

        let renamed = LogRecord::webhook(&webhook("hook01", "B"));
        let other = LogRecord::webhook(&webhook("hook02", "A"));
        let moved = LogRecord::event(&event("event1", "hook02", Operation::Insert, "T", &[]));
        assert!(!draft.already_match(std::slice::from_ref(&renamed)));
        draft.add(&[renamed.clone(), other, moved]);
        assert!(draft.already_match(&[renamed]));
        assert_eq!((names(&draft, "A"), names(&draft, "B")), (vec!["hook02".to_owned()], vec!["hook01".to_owned()]));
        assert_eq!(draft.events_of("hook01".parse().unwrap()).count(), 0);
        assert_eq!(draft.events_of("hook02".parse().unwrap()).count(), 1);
        assert_eq!(draft.usage(&"acme".into()).webhooks, 2);

        let declared = LogRecord::table(&table("T", &[]));
        assert!(!draft.already_match(std::slice::from_ref(&declared)));
        draft.add(std::slice::from_ref(&declared));
        assert!(draft.already_match(&[declared]));

        draft.add(&[LogRecord::deletion(DefinitionKey::Webhook("hook01".parse().unwrap()))]);
        assert!(draft.webhook("hook01".parse().unwrap()).is_none());
        assert_eq!(draft.usage(&"acme".into()).webhooks, 1);
        assert_eq!(committed.webhooks().len(), 1, "what is committed stays as it is");
    }
}
