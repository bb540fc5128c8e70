//! The sample's webhooks: applied like any file, then found again, with the ids and secrets that they got.

use std::collections::HashMap;
use std::net::SocketAddr;

use http::Uri;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use standardwebhooks::Webhook as Verifier;

use super::sample::Change;
use crate::config::Config;
use crate::decode::Identity;
use crate::definition::plan::{ApplyContext, Problems, plan};
use crate::definition::yaml::{BadFile, DefinitionFile};
use crate::definition::{Definitions, PendingDefinitions, Stamp, edit};
use crate::id::{AccountId, ClientId, EventId, MessageId};
use crate::render::message_id;
use crate::store::{self, StoreError, WriteError};

/// The account of all sample changes: the one that a source takes for those that name none.
pub(super) const ACCOUNT: &str = "default";

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

/// The sample's events, and the ids they got.
pub(super) struct SampleEvents {
    events: Vec<(SampleEvent, EventId)>,
}

/// Why the sample's webhooks are not there.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("the sample's webhooks are no definitions: {0}")]
    File(#[from] BadFile),
    #[error(transparent)]
    Write(#[from] WriteError<Problems>),
    #[error(transparent)]
    Read(#[from] StoreError),
    #[error("after the sample's webhooks were applied, {webhook:?} has no {event_type} event of {table}")]
    Missing { webhook: &'static str, table: &'static str, event_type: &'static str },
}

/// Writes the sample's webhooks as `outhook apply` does, and returns all definitions.
///
/// # Errors
/// The definitions topic can't be written or read.
pub(super) async fn apply(config: &Config, receiver: SocketAddr) -> Result<Definitions, SampleError> {
    let kafka: HashMap<_, _> = config.kafka.client().into_iter().collect();
    let file = DefinitionFile::parse(&include_str!("webhooks.yaml").replace("RECEIVER", &receiver.to_string()))?;
    let (stamp, policy) = (stamp(), config.policy());
    let decide = move |draft: &PendingDefinitions<'_>| {
        let terms = ApplyContext {
            account: Some(&AccountId::from(ACCOUNT)),
            prune: false,
            policy: &policy,
            seen: &|_, _| None,
            stamp: &stamp,
            elsewhere: &|_| Err("the sample's secrets stand nowhere else".to_owned()),
            random: &random,
        };
        plan(draft.committed(), &file, &terms).map(|plan| (plan.records(), ()))
    };
    store::write(&config.definitions, &kafka, decide).await?;
    Ok(store::read(&config.definitions, &kafka).await?)
}

/// Makes a client of the API, and returns its id and secret.
///
/// # Errors
/// The definitions topic can't be written.
pub(super) async fn make_client(config: &Config) -> Result<(ClientId, String), SampleError> {
    let kafka: HashMap<_, _> = config.kafka.client().into_iter().collect();
    let (account, stamp, policy) = (AccountId::from(ACCOUNT), stamp(), config.policy());
    let made = store::write(&config.definitions, &kafka, move |draft: &PendingDefinitions<'_>| {
        let terms = edit::RequestContext {
            account: &account,
            policy: &policy,
            stamp: &stamp,
            seen: &|_, _| None,
            random: &random,
        };
        Ok::<_, Problems>(edit::create_client(draft, "outhook dev", false, &terms))
    });
    let (client, secret) = made.await?;
    Ok((client.id, secret))
}

fn stamp() -> Stamp {
    Stamp::new(Timestamp::now(), "outhook dev")
}

/// Fills bytes at random.
fn random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("every system that this runs on gives random bytes");
}

impl SampleEvents {
    /// Finds the sample's events.
    ///
    /// # Errors
    /// One is missing.
    pub(super) fn find(definitions: &Definitions) -> Result<Self, SampleError> {
        let account = AccountId::from(ACCOUNT);
        let find = |sample: SampleEvent| {
            let (webhook, table, event_type) = sample.place();
            definitions
                .named(&account, webhook)
                .flat_map(|webhook| definitions.events_of(webhook.id))
                .find(|event| event.object_name == table && event.operation.event_type() == event_type)
                .map(|event| (sample, event.id))
                .ok_or(SampleError::Missing { webhook, table, event_type })
        };
        let events = SampleEvent::ALL.into_iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self { events })
    }

    /// The messages that a change would send, were it to fire all events of its table.
    pub(super) fn messages_of(&self, change: &Change) -> impl Iterator<Item = (SampleEvent, MessageId)> {
        let identity = Identity::Given(change.id.as_str().into());
        self.events
            .iter()
            .filter(|(event, _)| event.place().1 == change.table)
            .map(move |&(event, id)| (event, message_id(ACCOUNT, change.table, &identity, id)))
    }
}

/// The path of each webhook's first URL, with what verifies the signatures of what comes there.
pub(super) fn verifiers(definitions: &Definitions) -> HashMap<String, Verifier> {
    let path = |url: &String| url.parse::<Uri>().ok().map(|url| url.path().to_owned());
    definitions
        .webhooks()
        .filter_map(|webhook| {
            let verifier = Verifier::new(webhook.secret.expose()).expect("a secret is base64 behind its prefix");
            Some((webhook.urls.first().and_then(path)?, verifier))
        })
        .collect()
}
