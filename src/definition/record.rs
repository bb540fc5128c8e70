//! Encoding of definitions in the log: one record each, with the key `kind/id` and a JSON value, or no value if the
//! definition is deleted. `docs/definitions.md` shows the shapes.

use std::convert::Infallible;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    BadSecret, Client, Event, HiddenText, Keyring, OpenError, Secret, Table, TokenKey, Webhook, redact_secrets,
};
use crate::id::{AccountId, BadId, ClientId, EventId, TableId, WebhookId};

/// Version of the shapes that this program writes and reads, in each value's `"v"`. It changes only when a record can
/// no longer be understood by ignoring unknown fields.
pub const VERSION: u32 = 1;

/// The definition that a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefinitionKey {
    Webhook(WebhookId),
    Event(EventId),
    Table(TableId),
    Client(ClientId),
    /// The key that signs tokens. There is one.
    TokenKey,
}

/// A record to write, with its secrets not sealed yet. It has no `Debug`, because it may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub key: DefinitionKey,
    /// None deletes the definition.
    pub value: Option<Vec<u8>>,
}

/// A record that is not a valid definition.
#[derive(Debug, thiserror::Error)]
#[error("definition record {key:?}: {reason}")]
pub struct BadRecord {
    pub key: String,
    pub reason: BadReason,
}

/// Why a record is not a valid definition.
#[derive(Debug, thiserror::Error)]
pub enum BadReason {
    #[error("its key is not text of the form kind/id")]
    Key,
    #[error("its key's id: {0}")]
    Id(#[from] BadId),
    /// A text that is in the wrong place may be a secret, so the reason does not quote it.
    #[error("its value is not a valid definition: {}", without_quoted_text(&.0.to_string()))]
    Value(#[from] serde_json::Error),
    #[error("its value has no version: it must hold \"v\":{VERSION}")]
    NoVersion,
    #[error("its version is {0}, and this program knows {VERSION}: a newer program wrote it, so update this one")]
    Version(u32),
    #[error("its value holds the id {0}, which is not the key's")]
    IdMismatch(String),
    #[error("its id is not that of table {table:?} of account {account:?}, which would be {expected}")]
    TableIdMismatch { account: AccountId, table: String, expected: TableId },
    #[error(transparent)]
    Sealed(#[from] OpenError),
    #[error(transparent)]
    Secret(#[from] BadSecret),
}

/// The text of a serde error without the value that it quotes.
fn without_quoted_text(error: &str) -> String {
    for (start, end) in [("string \"", "\", expected"), ("unknown variant `", "`, expected")] {
        if let (Some(from), Some(to)) = (error.find(start), error.rfind(end))
            && from + start.len() <= to
        {
            return format!("{}…{}", &error[..from + start.len()], &error[to..]);
        }
    }
    redact_secrets(error).into_owned()
}

impl DefinitionKey {
    /// Parses a key. None is an unknown kind, which a newer program may write.
    pub(super) fn parse(key: &[u8]) -> Result<Option<DefinitionKey>, BadReason> {
        let (kind, id) = std::str::from_utf8(key).ok().and_then(|key| key.split_once('/')).ok_or(BadReason::Key)?;
        Ok(match kind {
            "webhook" => Some(DefinitionKey::Webhook(id.parse()?)),
            "event" => Some(DefinitionKey::Event(id.parse()?)),
            "table" => Some(DefinitionKey::Table(id.parse()?)),
            "client" => Some(DefinitionKey::Client(id.parse()?)),
            "token-key" if id == "current" => Some(DefinitionKey::TokenKey),
            _ => None,
        })
    }
}

impl fmt::Display for DefinitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefinitionKey::Webhook(id) => write!(f, "webhook/{id}"),
            DefinitionKey::Event(id) => write!(f, "event/{id}"),
            DefinitionKey::Table(id) => write!(f, "table/{id}"),
            DefinitionKey::Client(id) => write!(f, "client/{id}"),
            DefinitionKey::TokenKey => f.write_str("token-key/current"),
        }
    }
}

impl LogRecord {
    pub fn webhook(webhook: &Webhook) -> Self {
        Self { key: DefinitionKey::Webhook(webhook.id), value: Some(to_value(webhook)) }
    }

    pub fn event(event: &Event) -> Self {
        Self { key: DefinitionKey::Event(event.id), value: Some(to_value(event)) }
    }

    pub fn table(table: &Table) -> Self {
        Self { key: DefinitionKey::Table(table.id), value: Some(to_value(table)) }
    }

    pub fn client(client: &Client) -> Self {
        Self { key: DefinitionKey::Client(client.id), value: Some(to_value(client)) }
    }

    pub fn token_key(key: &TokenKey) -> Self {
        Self { key: DefinitionKey::TokenKey, value: Some(to_value(key)) }
    }

    /// The value as stored, with its secrets sealed. `random` fills its argument with random bytes.
    pub fn sealed(&self, keys: &Keyring, random: &dyn Fn(&mut [u8])) -> Option<Vec<u8>> {
        const OWN: &str = "this program can read the values that it has made";
        let value = self.value.as_deref()?;
        if keys.is_empty() {
            return Some(value.to_vec());
        }
        let name = self.key.to_string();
        let seal = |secret: String| keys.seal(&name, &secret, random);
        Some(match self.key {
            DefinitionKey::Webhook(_) => {
                let webhook: Webhook<String> = from_value(value).expect(OWN);
                let Ok(mut webhook) = webhook.with_secrets(|secret| Ok::<_, Infallible>(seal(secret)));
                for (_, HiddenText(value)) in webhook.handling.secrets_mut() {
                    *value = seal(std::mem::take(value));
                }
                to_value(&webhook)
            }
            DefinitionKey::TokenKey => {
                let TokenKey { key, created } = from_value(value).expect(OWN);
                to_value(&TokenKey { key: seal(key), created })
            }
            DefinitionKey::Event(_) | DefinitionKey::Table(_) | DefinitionKey::Client(_) => value.to_vec(),
        })
    }

    /// The tombstone that deletes the definition with this key.
    pub fn deletion(key: DefinitionKey) -> Self {
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

pub(super) fn webhook_from_value(id: WebhookId, value: &[u8], keys: &Keyring) -> Result<Webhook, BadReason> {
    let mut webhook: Webhook<String> = from_value(value)?;
    if webhook.id != id {
        return Err(BadReason::IdMismatch(webhook.id.into()));
    }
    for (_, HiddenText(value)) in webhook.handling.secrets_mut() {
        *value = keys.open(&DefinitionKey::Webhook(id).to_string(), std::mem::take(value))?;
    }
    webhook.with_secrets(|secret| open_secret(DefinitionKey::Webhook(id), secret, keys))
}

pub(super) fn client_from_value(id: ClientId, value: &[u8]) -> Result<Client, BadReason> {
    let client: Client = from_value(value)?;
    if client.id == id { Ok(client) } else { Err(BadReason::IdMismatch(client.id.into())) }
}

pub(super) fn token_key_from_value(value: &[u8], keys: &Keyring) -> Result<TokenKey, BadReason> {
    let TokenKey { key, created } = from_value(value)?;
    Ok(TokenKey { key: open_secret(DefinitionKey::TokenKey, key, keys)?, created })
}

fn open_secret(record: DefinitionKey, secret: String, keys: &Keyring) -> Result<Secret, BadReason> {
    Ok(Secret::try_from(keys.open(&record.to_string(), secret)?)?)
}

pub(super) fn event_from_value(id: EventId, value: &[u8]) -> Result<Event, BadReason> {
    let event: Event = from_value(value)?;
    if event.id == id { Ok(event) } else { Err(BadReason::IdMismatch(event.id.into())) }
}

/// Reads a table. Its id must be derived from its account and name: otherwise one table could be declared twice.
pub(super) fn table_from_value(id: TableId, value: &[u8]) -> Result<Table, BadReason> {
    let table: Table = from_value(value)?;
    if table.id != id {
        return Err(BadReason::IdMismatch(table.id.into()));
    }
    match TableId::of(&table.account, &table.name) {
        expected if expected == id => Ok(table),
        expected => Err(BadReason::TableIdMismatch { account: table.account, table: table.name, expected }),
    }
}

/// First bytes of a value that this program has written.
const CURRENT_VERSION_PREFIX: &[u8] = b"{\"v\":1,";

/// Reads the version first, because a newer value may differ in everything else. If the version is the first field,
/// the value is parsed only once.
fn from_value<T: DeserializeOwned>(value: &[u8]) -> Result<T, BadReason> {
    if value.starts_with(CURRENT_VERSION_PREFIX) {
        return Ok(serde_json::from_slice(value)?);
    }
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
