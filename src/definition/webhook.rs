//! A webhook as it is stored.

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::id::{AccountId, WebhookId};

/// Where the messages of its events go, and with which secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    pub id: WebhookId,
    pub account: AccountId,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub urls: Vec<String>,
    /// Calls a second over the whole group; None is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_throttling: Option<u32>,
    pub secret: Secret,
    #[serde(default = "yes")]
    pub enabled: bool,
    pub created: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Stamp>,
}

/// When something was done, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// RFC 3339 in UTC with 7 decimals: `2023-05-17T12:45:27.5286883Z`.
    pub at: String,
    pub by: String,
}

fn yes() -> bool {
    true
}
