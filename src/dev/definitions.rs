//! The sample webhooks: applied like any file, then read back with their ids and secrets.

use std::collections::HashMap;
use std::net::SocketAddr;

use http::Uri;
use jiff::Timestamp;
use outhook_dev::{Change, SampleEvent};
use ring::rand::{SecureRandom as _, SystemRandom};
use standardwebhooks::Webhook as Verifier;

use crate::config::Config;
use crate::decode::Identity;
use crate::definition::plan::{ApplyContext, Problems, plan};
use crate::definition::yaml::{DefinitionFile, InvalidFile};
use crate::definition::{Definitions, PendingDefinitions, Stamp, edit};
use crate::id::{AccountId, ClientId, EventId};
use crate::render::message_id;
use crate::store::{self, StoreError, WriteError};

/// The account of all sample changes, and a source's default for records that name no account.
pub(super) const ACCOUNT: &str = "default";

/// The sample's events with their ids.
pub(super) struct SampleEvents {
    events: Vec<(SampleEvent, EventId)>,
}

/// Why the sample webhooks are missing.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("the sample webhooks are not valid definitions: {0}")]
    File(#[from] InvalidFile),
    #[error(transparent)]
    Write(#[from] WriteError<Problems>),
    #[error(transparent)]
    Read(#[from] StoreError),
    #[error("the sample webhooks were applied, but {webhook:?} has no {event_type} event of {table}")]
    Missing { webhook: &'static str, table: &'static str, event_type: &'static str },
}

/// Writes the sample webhooks as `outhook apply` does, and returns all definitions.
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
            seen_fields: &|_, _| None,
            stamp: &stamp,
            read_secret: &|_| unreachable!("the sample webhooks have no references to secrets"),
            random: &random,
        };
        plan(draft.committed(), &file, &terms).map(|plan| (plan.records(), ()))
    };
    store::write(&config.definitions, &kafka, decide).await?;
    Ok(store::read(&config.definitions, &kafka).await?)
}

/// Creates an API client, and returns its id and secret.
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
            seen_fields: &|_, _| None,
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

/// Fills `bytes` with random bytes.
fn random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("every supported system has a random source");
}

impl SampleEvents {
    /// Finds the sample's events.
    ///
    /// # Errors
    /// An event is missing.
    pub(super) fn find(definitions: &Definitions) -> Result<Self, SampleError> {
        let account = AccountId::from(ACCOUNT);
        let find = |sample: SampleEvent| {
            let (webhook, table, event_type) = sample.identity();
            definitions
                .webhooks_named(&account, webhook)
                .flat_map(|webhook| definitions.events_of(webhook.id))
                .find(|event| event.object_name == table && event.operation.event_type() == event_type)
                .map(|event| (sample, event.id))
                .ok_or(SampleError::Missing { webhook, table, event_type })
        };
        let events = SampleEvent::ALL.into_iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self { events })
    }

    /// The messages of a change if it fired all events of its table.
    pub(super) fn messages_of(&self, change: &Change) -> Vec<(SampleEvent, u128)> {
        let identity = Identity::ProducerId(change.id.as_str().into());
        self.events
            .iter()
            .filter(|(event, _)| event.identity().1 == change.table)
            .map(|&(event, id)| (event, message_id(ACCOUNT, change.table, &identity, id).0.as_u128()))
            .collect()
    }
}

/// Signature verifiers by the path of each webhook's first URL.
pub(super) fn verifiers(definitions: &Definitions) -> HashMap<String, Verifier> {
    let path = |url: &String| url.parse::<Uri>().ok().map(|url| url.path().to_owned());
    definitions
        .webhooks()
        .filter_map(|webhook| {
            let verifier = Verifier::new(webhook.secret.expose()).expect("a secret is its prefix and base64");
            Some((webhook.urls.first().and_then(path)?, verifier))
        })
        .collect()
}
