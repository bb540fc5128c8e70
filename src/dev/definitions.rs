//! The sample's webhooks, and the events in them by name: what the generator and the oracle speak of.

use std::collections::HashMap;
use std::net::SocketAddr;

use http::Uri;
use standardwebhooks::Webhook as Verifier;

use super::sample::Change;
use crate::decode::Identity;
use crate::definition::Definitions;
use crate::id::{AccountId, EventId, MessageId};
use crate::render::message_id;

/// The file that is applied at the start; `RECEIVER` stands for the receiver's host and port.
const WEBHOOKS: &str = include_str!("webhooks.yaml");

/// The webhooks with the receiver's address, ready to be applied.
pub(super) fn webhooks(receiver: SocketAddr) -> String {
    WEBHOOKS.replace("RECEIVER", &receiver.to_string())
}

/// An event of `webhooks.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SampleEvent {
    /// The seed page's first example: first or last name updated by a datasheet or a DataPage.
    CustomerRenamed,
    /// The seed page's second example: anything inserted in Admins.
    AdminAdded,
    OrderPlaced,
    OrderChanged,
    OrderDeleted,
    /// Only the status, and to another webhook: one change then fires two events.
    OrderMoved,
}

impl SampleEvent {
    pub(super) const ALL: [SampleEvent; 6] = [
        SampleEvent::CustomerRenamed,
        SampleEvent::AdminAdded,
        SampleEvent::OrderPlaced,
        SampleEvent::OrderChanged,
        SampleEvent::OrderDeleted,
        SampleEvent::OrderMoved,
    ];

    /// The name of its webhook, its table and its event type; no other event has all three.
    fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            SampleEvent::CustomerRenamed => ("Customer directory", "MyCustomers", "table.recordUpdate"),
            SampleEvent::AdminAdded => ("Team chat", "Admins", "table.recordInsert"),
            SampleEvent::OrderPlaced => ("Bookkeeping", "Orders", "table.recordInsert"),
            SampleEvent::OrderChanged => ("Bookkeeping", "Orders", "table.recordUpdate"),
            SampleEvent::OrderDeleted => ("Bookkeeping", "Orders", "table.recordDelete"),
            SampleEvent::OrderMoved => ("Warehouse", "Orders", "table.recordUpdate"),
        }
    }
}

/// The sample's webhooks as they were applied: the ids and secrets they got.
pub(super) struct Applied {
    account: AccountId,
    events: Vec<(SampleEvent, EventId)>,
}

/// The applied definitions lack one of the sample's.
#[derive(Debug, thiserror::Error)]
#[error("after the sample's webhooks were applied, {webhook:?} has no {event_type} event of {table}")]
pub struct NotApplied {
    webhook: &'static str,
    table: &'static str,
    event_type: &'static str,
}

impl Applied {
    /// Finds the sample's events.
    ///
    /// # Errors
    /// One is missing.
    pub(super) fn find(definitions: &Definitions, account: AccountId) -> Result<Self, NotApplied> {
        let find = |sample: SampleEvent| {
            let (webhook, table, event_type) = sample.place();
            let is_it = |id| definitions.webhooks.get(id).is_some_and(|found| found.name == webhook);
            let mut events = definitions.events.values();
            events
                .find(|event| {
                    is_it(&event.webhook) && event.object_name == table && event.operation.event_type() == event_type
                })
                .map(|event| (sample, event.id))
                .ok_or(NotApplied { webhook, table, event_type })
        };
        let events = SampleEvent::ALL.into_iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self { account, events })
    }

    /// The messages that a change would send, were it to fire all events of its table.
    pub(super) fn messages_of(&self, change: &Change) -> impl Iterator<Item = (SampleEvent, MessageId)> {
        let identity = Identity::Given(change.id.as_str().into());
        let (account, table) = (self.account.as_str(), change.table);
        self.events
            .iter()
            .filter(move |(event, _)| event.place().1 == table)
            .map(move |&(event, id)| (event, message_id(account, table, &identity, id)))
    }
}

/// The path of each webhook's URL at the receiver, with what verifies its signatures.
pub(super) fn verifiers(definitions: &Definitions) -> HashMap<String, Verifier> {
    let path = |url: &str| url.parse::<Uri>().map(|uri| uri.path().to_owned()).ok();
    definitions
        .webhooks
        .values()
        .filter_map(|webhook| {
            let verifier = Verifier::new(webhook.secret.expose()).expect("a secret is base64 behind its prefix");
            Some((path(webhook.urls.first()?)?, verifier))
        })
        .collect()
}
