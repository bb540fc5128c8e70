//! Selects the events of a replay by the options, and compiles their rules.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use crate::definition::{Definitions, Event, TableKey, Webhook};
use crate::id::{AccountId, EventId, WebhookId};
use crate::matching::Index;
use crate::rules::{CompileError, Rule, Target};

/// Max ids that an error names.
const MAX_LISTED_IDS: usize = 20;

/// Options that select events.
#[derive(Debug, Default, clap::Args)]
pub struct EventSelectorArgs {
    /// The active events of this webhook. Can be repeated.
    #[arg(long, value_name = "ID", required_unless_present = "event")]
    pub webhook: Vec<WebhookId>,
    /// This event. Can be repeated.
    #[arg(long, value_name = "ID")]
    pub event: Vec<EventId>,
    /// The account that the webhooks and events must belong to.
    #[arg(long)]
    pub account: Option<AccountId>,
}

/// Events to replay.
#[derive(Debug, Default)]
pub struct Selection {
    /// Index of the rules of these events only.
    pub index: Arc<Index>,
    /// Events by id, and why an event that is not ready is skipped.
    pub events: BTreeMap<EventId, Result<(), EventSkipReason>>,
    /// Selected webhooks that have no events.
    pub without_events: Vec<WebhookId>,
}

/// Why an event, or a webhook with all of its events, is skipped.
#[derive(Debug, thiserror::Error)]
pub enum EventSkipReason {
    #[error("it is not enabled: its calls would be cancelled, so enable it first")]
    Event,
    #[error("its webhook {0} is not enabled: its calls would be cancelled, so enable the webhook first")]
    Webhook(WebhookId),
    #[error("its rule can't be compiled: {0}")]
    Compile(#[from] CompileError),
}

/// A webhook or event that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is no {what} {id}{}; there {}", AccountSuffix(.account.as_ref()), ExistingIds(.existing))]
pub struct UnknownSelection {
    what: &'static str,
    id: String,
    account: Option<AccountId>,
    existing: Vec<String>,
}

impl EventSelectorArgs {
    /// # Errors
    /// A webhook or event does not exist, or is not in the account.
    pub fn select(&self, definitions: &Definitions) -> Result<Selection, UnknownSelection> {
        let mut chosen = Selection::default();
        let mut events: BTreeMap<EventId, (&Webhook, &Event)> = BTreeMap::new();
        for id in &self.webhook {
            let webhook = definitions.webhook(*id).filter(|webhook| self.is_of_account(webhook));
            let webhook = webhook.ok_or_else(|| self.unknown_webhook(*id, definitions))?;
            events.extend(definitions.events_of(*id).map(|event| (event.id, (webhook, event))));
            if definitions.events_of(*id).next().is_none() {
                chosen.without_events.push(*id);
            }
        }
        for id in &self.event {
            let event = definitions.event(*id).and_then(|event| Some((definitions.webhook(event.webhook)?, event)));
            let event = event.filter(|(webhook, _)| self.is_of_account(webhook));
            events.insert(*id, event.ok_or_else(|| self.unknown_event(*id, definitions))?);
        }
        let mut rules: BTreeMap<TableKey, Vec<Arc<Rule>>> = BTreeMap::new();
        for (id, (webhook, event)) in events {
            let ready = rule(definitions, webhook, event).map(|rule| {
                let table = TableKey { account: webhook.account.clone(), table: event.object_name.clone() };
                rules.entry(table).or_default().push(Arc::new(rule));
            });
            chosen.events.insert(id, ready);
        }
        rules.into_iter().for_each(|(table, rules)| chosen.index.replace(&table, rules));
        Ok(chosen)
    }

    fn is_of_account(&self, webhook: &Webhook) -> bool {
        self.account.as_ref().is_none_or(|account| *account == webhook.account)
    }

    fn unknown_webhook(&self, id: WebhookId, definitions: &Definitions) -> UnknownSelection {
        let webhooks = definitions.webhooks().filter(|webhook| self.is_of_account(webhook));
        let there = webhooks.map(|webhook| format!("{} ({:?})", webhook.id, webhook.name)).take(MAX_LISTED_IDS + 1);
        UnknownSelection {
            what: "webhook",
            id: id.to_string(),
            account: self.account.clone(),
            existing: there.collect(),
        }
    }

    fn unknown_event(&self, id: EventId, definitions: &Definitions) -> UnknownSelection {
        let is_meant =
            |event: &&Event| definitions.webhook(event.webhook).is_some_and(|webhook| self.is_of_account(webhook));
        let named =
            |event: &Event| format!("{} ({} of {:?})", event.id, event.operation.event_type(), event.object_name);
        let there = definitions.events().filter(is_meant).map(named).take(MAX_LISTED_IDS + 1).collect();
        UnknownSelection { what: "event", id: id.to_string(), account: self.account.clone(), existing: there }
    }
}

impl Selection {
    /// Events that are ready.
    pub fn ready(&self) -> impl Iterator<Item = EventId> {
        self.events.iter().filter(|(_, ready)| ready.is_ok()).map(|(event, _)| *event)
    }

    /// Events that are skipped, and why.
    pub fn skipped_events(&self) -> impl Iterator<Item = (EventId, &EventSkipReason)> {
        self.events.iter().filter_map(|(event, ready)| Some((*event, ready.as_ref().err()?)))
    }
}

fn rule(definitions: &Definitions, webhook: &Webhook, event: &Event) -> Result<Rule, EventSkipReason> {
    if !webhook.enabled {
        return Err(EventSkipReason::Webhook(webhook.id));
    }
    if !event.enabled {
        return Err(EventSkipReason::Event);
    }
    let table = definitions.table(&webhook.account, &event.object_name);
    Ok(Rule::compile_on(table, webhook, event, &Arc::new(Target::of(webhook)?))?)
}

/// Part of an error text that names the account.
struct AccountSuffix<'a>(Option<&'a AccountId>);

impl Display for AccountSuffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |account| write!(f, " in account {account:?}"))
    }
}

/// Part of an error text that lists the existing ids.
struct ExistingIds<'a>(&'a [String]);

impl Display for ExistingIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("are none"),
            [named @ .., _] if named.len() == MAX_LISTED_IDS => write!(f, "are {} and others", named.join(", ")),
            all => write!(f, "{} {}", if all.len() == 1 { "is" } else { "are" }, all.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::samples::{event, webhook};
    use crate::definition::{DefinitionChanges, LogRecord};
    use crate::vocabulary::Operation;

    fn definitions() -> Definitions {
        let mut definitions = Definitions::default();
        let (crm, mut stopped) = (webhook("crm001", "CRM"), webhook("old001", "Old"));
        stopped.enabled = false;
        let mut off = event("event2", "crm001", Operation::Update, "orders", &[]);
        off.enabled = false;
        let on = event("event1", "crm001", Operation::Insert, "orders", &[]);
        let of_stopped = event("event3", "old001", Operation::Insert, "orders", &[]);
        let events = [&on, &off, &of_stopped].map(LogRecord::event);
        for record in [LogRecord::webhook(&crm), LogRecord::webhook(&stopped)].into_iter().chain(events) {
            let key = record.key.to_string();
            definitions.apply(key.as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
        }
        definitions
    }

    fn args(webhook: &[&str], event: &[&str]) -> EventSelectorArgs {
        let webhook = webhook.iter().map(|id| id.parse().unwrap()).collect();
        EventSelectorArgs { webhook, event: event.iter().map(|id| id.parse().unwrap()).collect(), account: None }
    }

    #[test]
    fn only_active_events_are_ready_and_others_have_a_reason() {
        let chosen = args(&["crm001"], &["event1", "event3"]).select(&definitions()).unwrap();
        assert_eq!(chosen.ready().map(|event| event.to_string()).collect::<Vec<_>>(), ["event1"]);
        let left_out: Vec<_> = chosen.skipped_events().map(|(event, why)| format!("{event}: {why}")).collect();
        assert!(left_out[0].starts_with("event2: it is not enabled"), "{left_out:?}");
        assert!(left_out[1].starts_with("event3: its webhook old001 is not enabled"), "{left_out:?}");
        assert_eq!(chosen.index.rules("acme", "orders").unwrap().rules().len(), 1);
    }

    #[test]
    fn unknown_webhook_or_event_is_rejected_with_the_existing_ones() {
        let unknown = |args: EventSelectorArgs| args.select(&definitions()).unwrap_err().to_string();
        let webhook = unknown(args(&["crm009"], &[]));
        assert_eq!(webhook, "there is no webhook crm009; there are crm001 (\"CRM\"), old001 (\"Old\")");
        let event = unknown(args(&[], &["event9"]));
        assert!(event.starts_with("there is no event event9; there are event1 (table.recordInsert of \"orders\"), "));
        let other = EventSelectorArgs { account: Some("zoo".into()), ..args(&["crm001"], &[]) };
        assert_eq!(unknown(other), "there is no webhook crm001 in account \"zoo\"; there are none");
    }
}
