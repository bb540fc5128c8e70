//! How definitions stand in the log: one record each, its key `kind/id`, its value JSON or, when the
//! definition is deleted, nothing. `docs/definitions.md` shows the shapes.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Event, Webhook};
use crate::id::{BadId, EventId, WebhookId};

/// The version of the shapes that this program writes and reads, each value's `"v"`. It changes only when a
/// record can no longer be understood by ignoring the fields that are not known.
pub const VERSION: u32 = 1;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Webhook(WebhookId),
    Event(EventId),
}

/// A record to be written. It has no `Debug`, because a webhook's holds its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub key: Key,
    /// None deletes.
    pub value: Option<Vec<u8>>,
}

/// A record that can't be taken as a definition.
#[derive(Debug, thiserror::Error)]
#[error("definition record {key:?}: {reason}")]
pub struct BadRecord {
    pub key: String,
    pub reason: BadReason,
}

/// Why a record can't be taken as a definition.
#[derive(Debug, thiserror::Error)]
pub enum BadReason {
    #[error("its key is not text of the form kind/id")]
    Key,
    #[error("its key's id: {0}")]
    Id(#[from] BadId),
    #[error("its value is not what a definition looks like: {0}")]
    Value(#[from] serde_json::Error),
    #[error("its value has no version: it must hold \"v\":{VERSION}")]
    NoVersion,
    #[error("its version is {0}, and this program knows {VERSION}: a newer program wrote it, so update this one")]
    Version(u32),
    #[error("its value holds the id {0}, which is not the key's")]
    OtherId(String),
}

impl Key {
    /// Reads a key; None is a kind that this program does not know, as a newer one may write.
    pub(super) fn parse(key: &[u8]) -> Result<Option<Key>, BadReason> {
        let (kind, id) = std::str::from_utf8(key).ok().and_then(|key| key.split_once('/')).ok_or(BadReason::Key)?;
        Ok(match kind {
            "webhook" => Some(Key::Webhook(id.parse()?)),
            "event" => Some(Key::Event(id.parse()?)),
            _ => None,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Webhook(id) => write!(f, "webhook/{id}"),
            Key::Event(id) => write!(f, "event/{id}"),
        }
    }
}

impl LogRecord {
    pub fn webhook(webhook: &Webhook) -> Self {
        Self { key: Key::Webhook(webhook.id), value: Some(to_value(webhook)) }
    }

    pub fn event(event: &Event) -> Self {
        Self { key: Key::Event(event.id), value: Some(to_value(event)) }
    }

    /// The tombstone that deletes what `key` names.
    pub fn deletion(key: Key) -> Self {
        Self { key, value: None }
    }
}

fn to_value<T: Serialize>(definition: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        v: u32,
        #[serde(flatten)]
        definition: &'a T,
    }
    serde_json::to_vec(&Versioned { v: VERSION, definition }).expect("definitions have only texts as keys")
}

pub(super) fn webhook_from_value(id: WebhookId, value: &[u8]) -> Result<Webhook, BadReason> {
    let webhook: Webhook = from_value(value)?;
    if webhook.id == id { Ok(webhook) } else { Err(BadReason::OtherId(webhook.id.into())) }
}

pub(super) fn event_from_value(id: EventId, value: &[u8]) -> Result<Event, BadReason> {
    let event: Event = from_value(value)?;
    if event.id == id { Ok(event) } else { Err(BadReason::OtherId(event.id.into())) }
}

/// Reads the version first: of a newer value nothing else need be as this program expects it.
fn from_value<T: DeserializeOwned>(value: &[u8]) -> Result<T, BadReason> {
    #[derive(Deserialize)]
    #[serde(expecting = "an object with the version as \"v\"")]
    struct Version {
        v: Option<u32>,
    }
    match serde_json::from_slice::<Version>(value)?.v {
        None => Err(BadReason::NoVersion),
        Some(VERSION) => Ok(serde_json::from_slice(value)?),
        Some(newer) => Err(BadReason::Version(newer)),
    }
}
