//! A webhook as stored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeliverySettings, Secret};
use crate::id::{AccountId, WebhookId};

/// Where the messages of its events go, and the secret that signs them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhook<S = Secret> {
    pub id: WebhookId,
    pub account: AccountId,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub urls: Vec<String>,
    /// Max calls per second over the whole group. None is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_throttling: Option<u32>,
    pub secret: S,
    /// The previous secret, while messages are signed with both.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<OldSecret<S>>,
    #[serde(default, skip_serializing_if = "DeliverySettings::is_default")]
    pub handling: DeliverySettings,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Why it was disabled, if a receiver's answer did that (410). Enabling the webhook removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// 1 at creation, and one more with each change.
    #[serde(default = "first")]
    pub version: u32,
    pub created: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Stamp>,
}

/// A replaced secret that is still valid for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret<S = Secret> {
    pub secret: S,
    /// Seconds since 1970.
    pub until: i64,
}

impl<S> Webhook<S> {
    /// The same webhook with converted secrets, between the stored form and the form in use.
    ///
    /// # Errors
    /// The error of `change`.
    pub fn with_secrets<T, E>(self, mut change: impl FnMut(S) -> Result<T, E>) -> Result<Webhook<T>, E> {
        let secret = change(self.secret)?;
        let old_secret = match self.old_secret {
            Some(OldSecret { secret, until }) => Some(OldSecret { secret: change(secret)?, until }),
            None => None,
        };
        Ok(Webhook {
            id: self.id,
            account: self.account,
            name: self.name,
            description: self.description,
            urls: self.urls,
            call_throttling: self.call_throttling,
            secret,
            old_secret,
            handling: self.handling,
            enabled: self.enabled,
            stopped: self.stopped,
            version: self.version,
            created: self.created,
            modified: self.modified,
        })
    }
}

/// When something was done, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// RFC 3339 in UTC with 7 decimals: `2023-05-17T12:45:27.5286883Z`.
    pub at: String,
    pub by: String,
}

impl Stamp {
    pub fn new(at: Timestamp, by: impl Into<String>) -> Self {
        Self { at: at.strftime("%Y-%m-%dT%H:%M:%S.%7fZ").to_string(), by: by.into() }
    }

    /// Marks a change of a definition: the next version, and when it was modified.
    pub(super) fn touch(&self, version: &mut u32, modified: &mut Option<Stamp>) {
        *version += 1;
        *modified = Some(self.clone());
    }
}

/// Default of a field that is true unless given.
pub(super) fn yes() -> bool {
    true
}

/// The version of a new definition.
pub(super) fn first() -> u32 {
    1
}
