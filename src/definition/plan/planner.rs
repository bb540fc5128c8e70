//! Goes through a file entry by entry, and collects its changes and its problems.

mod tables;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_saphyr::{Location, Spanned};

use super::{ApplyContext, Change, FileProblem, Plan, ProblemReason, Problems, WebhookPlan};
use crate::definition::hidden_text::RetainedText;
use crate::definition::rules::{self, EventSlots};
use crate::definition::yaml::{EventEntry, SecretText, WebhookEntry};
use crate::definition::{
    BadSecret, Definitions, DeliverySettings, Event, PendingDefinitions, Secret, SecretReference, Table, Webhook,
};
use crate::definition::{edit, retained_secrets};
use crate::id::{AccountId, EventId, TableId, WebhookId};
use crate::vocabulary::Operation;

pub(super) struct Planner<'p> {
    definitions: &'p Definitions,
    context: &'p ApplyContext<'p>,
    /// The lines of the webhooks that the file names.
    webhook_lines: HashMap<(AccountId, &'p str), u64>,
    /// The lines of the tables that the file names.
    table_lines: HashMap<(AccountId, &'p str), u64>,
    /// The tables that the file declares, without those that have problems.
    declared_tables: HashMap<TableId, Table>,
    new_webhooks: HashSet<WebhookId>,
    new_events: HashSet<EventId>,
    plan: Plan,
    problems: Vec<FileProblem>,
}

/// Identity of an event within its webhook.
type EventIdentity<'e> = (Operation, &'e str, BTreeSet<&'e str>);

impl<'p> Planner<'p> {
    pub fn new(definitions: &'p Definitions, terms: &'p ApplyContext<'p>) -> Self {
        Self {
            definitions,
            context: terms,
            webhook_lines: HashMap::new(),
            table_lines: HashMap::new(),
            declared_tables: HashMap::new(),
            new_webhooks: HashSet::new(),
            new_events: HashSet::new(),
            plan: Plan::default(),
            problems: Vec::new(),
        }
    }

    /// The plan, or all problems in the order of the file.
    pub fn finish(mut self) -> Result<Plan, Problems> {
        self.problems.sort_by_key(|problem| (problem.location.line(), problem.location.column()));
        if self.problems.is_empty() { Ok(self.plan) } else { Err(Problems(self.problems)) }
    }

    /// Plans a webhook of the file with its events.
    pub fn webhook(&mut self, entry: &'p Spanned<WebhookEntry>) {
        let (location, entry) = (entry.referenced, &entry.value);
        let subject = || format!("webhook {:?}", entry.name);
        let Some(account) = self.account(entry.account.as_deref()) else {
            return self.problem(location, subject(), ProblemReason::NoAccount);
        };
        if let Some(line) = self.webhook_lines.insert((account.clone(), &entry.name), location.line()) {
            return self.problem(location, subject(), ProblemReason::Duplicate(line));
        }
        let before = self.definitions.webhooks_named(&account, &entry.name).next();
        let after = match self.build_webhook(account, entry, before) {
            Ok(after) => after,
            Err(reason) => return self.problem(location, subject(), reason),
        };
        let events = self.events(entry, &after);
        let secret_made = before.is_none() && entry.secret.is_none();
        let webhook = Change::between(before, after, |webhook| {
            self.context.stamp.touch(&mut webhook.version, &mut webhook.modified)
        });
        if !webhook.is_unchanged() || !events.is_empty() {
            self.plan.webhooks.push(WebhookPlan { webhook, secret_generated: secret_made, events });
        }
    }

    /// The account that an entry belongs to.
    fn account(&self, named: Option<&str>) -> Option<AccountId> {
        named.map(AccountId::from).or_else(|| self.context.account.cloned())
    }

    /// The accounts that the file names.
    fn accounts(&self) -> BTreeSet<AccountId> {
        self.webhook_lines.keys().chain(self.table_lines.keys()).map(|(account, _)| account.clone()).collect()
    }

    fn build_webhook(
        &mut self,
        account: AccountId,
        entry: &WebhookEntry,
        before: Option<&Webhook>,
    ) -> Result<Webhook, ProblemReason> {
        let secret = match (&entry.secret, before) {
            (Some(text), _) => self.parse_secret(text)?,
            (None, Some(before)) => before.secret.clone(),
            (None, None) => Secret::from_random(edit::random_bytes(self.context.random)),
        };
        let (handling, retained) = self.build_delivery_settings(entry, before)?;
        let throttling = |calls: u32| rules::call_throttling(calls.into(), &self.context.policy.limits);
        let call_throttling = entry.call_throttling.map(throttling).transpose()?.flatten();
        let webhook = Webhook {
            id: before.map_or_else(|| self.new_webhook_id(), |before| before.id),
            account,
            name: entry.name.clone(),
            description: entry.description.clone(),
            urls: entry.outgoing_urls.clone(),
            call_throttling,
            old_secret: before.filter(|before| before.secret == secret).and_then(|before| before.old_secret.clone()),
            secret,
            handling,
            version: before.map_or(1, |before| before.version),
            enabled: entry.enabled.unwrap_or(true),
            stopped: before.and_then(|before| before.stopped.clone()).filter(|_| entry.enabled == Some(false)),
            created: before.map_or_else(|| self.context.stamp.clone(), |before| before.created.clone()),
            modified: before.and_then(|before| before.modified.clone()),
        };
        rules::webhook(&webhook, self.context.policy)?;
        rules::destinations(&webhook, self.context.policy)?;
        before.map_or(Ok(()), |before| retained_secrets::check(&retained, before, &webhook))?;
        rules::unique_name(&webhook, &PendingDefinitions::new(self.definitions))?;
        Ok(webhook)
    }

    /// The delivery settings, and the secrets that stay because the file has … for them.
    fn build_delivery_settings(
        &self,
        entry: &WebhookEntry,
        before: Option<&Webhook>,
    ) -> Result<(DeliverySettings, Vec<RetainedText>), ProblemReason> {
        let mut settings = DeliverySettings::from(entry.settings());
        for (field, secret) in settings.secrets_mut() {
            secret.0 = self.resolve_secret(field, &secret.0)?;
        }
        let retained = settings.restore_hidden(before.map(|before| &before.handling));
        Ok((settings, retained))
    }

    /// The text itself, or the secret that it refers to.
    fn resolve_secret(&self, field: &'static str, text: &str) -> Result<String, ProblemReason> {
        match SecretReference::of(text) {
            Some(reference) => {
                (self.context.read_secret)(reference).map_err(|reason| ProblemReason::Secret { field, reason })
            }
            None => Ok(text.to_owned()),
        }
    }

    fn parse_secret(&self, text: &SecretText) -> Result<Secret, ProblemReason> {
        Secret::try_from(self.resolve_secret("Secret", &text.0)?)
            .map_err(|bad: BadSecret| ProblemReason::Rule(bad.into()))
    }

    /// Plans a webhook's events. Unchanged ones are omitted.
    fn events(&mut self, entry: &'p WebhookEntry, webhook: &Webhook) -> Vec<Change<Event>> {
        let mut existing: HashMap<EventIdentity<'p>, &'p Event> = HashMap::new();
        let mut not_named: Vec<&Event> = Vec::new();
        for event in self.definitions.events_of(webhook.id) {
            // Only another program can write two events of one identity. The file can name only one of them.
            let identity = identity(event.operation, &event.object_name, &event.object_fields);
            not_named.extend(existing.insert(identity, event));
        }
        let mut lines: HashMap<EventIdentity<'p>, u64> = HashMap::new();
        let mut changes: Vec<(Location, Change<Event>)> = Vec::new();
        for Spanned { value: entry, referenced: location, .. } in &entry.events {
            let planned = rules::operation(&entry.event_type).map_err(ProblemReason::from).and_then(|operation| {
                let identity = identity(operation, &entry.object_name, &entry.object_fields);
                let before = existing.remove(&identity);
                match lines.insert(identity, location.line()) {
                    Some(line) => Err(ProblemReason::Duplicate(line)),
                    None => self.plan_event(webhook, operation, entry, before),
                }
            });
            match planned {
                Ok(change) => changes.push((*location, change)),
                Err(reason) => self.problem(*location, describe(entry), reason),
            }
        }
        not_named.extend(existing.into_values());
        not_named.sort_by_key(|event| event.id);
        if self.context.prune {
            changes.splice(0..0, not_named.drain(..).map(|gone| (Location::UNKNOWN, Change::Delete(gone.clone()))));
        }
        self.plan.unnamed_count += not_named.len();
        self.check_conflicts(&not_named, &changes);
        changes.into_iter().map(|(_, change)| change).filter(|change| !change.is_unchanged()).collect()
    }

    fn plan_event(
        &mut self,
        webhook: &Webhook,
        operation: Operation,
        entry: &EventEntry,
        before: Option<&Event>,
    ) -> Result<Change<Event>, ProblemReason> {
        let event = Event {
            id: before.map_or_else(|| self.new_event_id(), |before| before.id),
            webhook: webhook.id,
            operation,
            type_as_given: before.and_then(|before| before.type_as_given.clone()),
            object_name: entry.object_name.clone(),
            object_fields: entry.object_fields.clone(),
            event_sources: entry.event_sources.clone(),
            payload: rules::payload(entry.custom_payload_fields.clone(), entry.custom_payload_template.clone())?,
            enabled: entry.enabled.unwrap_or(true),
            version: before.map_or(1, |before| before.version),
            created: before.map_or_else(|| self.context.stamp.clone(), |before| before.created.clone()),
            modified: before.and_then(|before| before.modified.clone()),
        };
        rules::event(&event)?;
        let change =
            Change::between(before, event, |event| self.context.stamp.touch(&mut event.version, &mut event.modified));
        if let Change::Create(event) | Change::Update { after: event, .. } = &change {
            self.known_names(event, before, &webhook.account)?;
        }
        Ok(change)
    }

    /// Checks that the events that a webhook will have do not conflict.
    fn check_conflicts(&mut self, stay: &[&Event], changes: &[(Location, Change<Event>)]) {
        let mut slots = EventSlots::default();
        for event in stay {
            // Conflicts among events that the file does not name are not the file's problem.
            let _ = slots.claim(event);
        }
        let mut lines = HashMap::new();
        for (location, change) in changes {
            let (Change::Keep(event) | Change::Create(event) | Change::Update { after: event, .. }) = change else {
                continue;
            };
            lines.insert(event.id, location.line());
            if let Err(refusal) = slots.claim(event) {
                let in_file = refusal.other_event().and_then(|other| Some((other, *lines.get(&other)?)));
                let subject = format!("event {} of {:?}", event.operation.event_type(), event.object_name);
                let reason = match in_file {
                    Some((other, line)) => ProblemReason::ConflictInFile { refusal, other, line },
                    None => refusal.into(),
                };
                self.problem(*location, subject, reason);
            }
        }
    }

    /// Plans the webhooks that the file does not name, in the accounts that it names.
    pub fn plan_unnamed_webhooks(&mut self) {
        for webhook in self.accounts().iter().flat_map(|account| self.definitions.webhooks_of(account)) {
            if self.webhook_lines.contains_key(&(webhook.account.clone(), webhook.name.as_str())) {
                continue;
            }
            // A file without webhooks is only about declared tables.
            if !self.context.prune || self.webhook_lines.is_empty() {
                self.plan.unnamed_count += 1;
                continue;
            }
            let events = self.definitions.events_of(webhook.id).cloned().map(Change::Delete).collect();
            let webhook = Change::Delete(webhook.clone());
            self.plan.webhooks.push(WebhookPlan { webhook, secret_generated: false, events });
        }
    }

    fn new_webhook_id(&mut self) -> WebhookId {
        let (definitions, new) = (self.definitions, &mut self.new_webhooks);
        let is_unused = |id| definitions.webhook(id).is_none() && new.insert(id);
        edit::unused_id(self.context.random, WebhookId::from_random, is_unused)
    }

    fn new_event_id(&mut self) -> EventId {
        let (definitions, new) = (self.definitions, &mut self.new_events);
        let is_unused = |id| definitions.event(id).is_none() && new.insert(id);
        edit::unused_id(self.context.random, EventId::from_random, is_unused)
    }

    fn problem(&mut self, location: Location, subject: String, reason: ProblemReason) {
        self.problems.push(FileProblem { location, subject, reason });
    }
}

fn identity<'e>(operation: Operation, table: &'e str, fields: &'e [String]) -> EventIdentity<'e> {
    (operation, table, fields.iter().map(String::as_str).collect())
}

fn describe(entry: &EventEntry) -> String {
    format!("event {} of {:?}", entry.event_type, entry.object_name)
}
