//! All definitions as one value that a log of records builds.

use std::collections::BTreeMap;

use super::{Event, Webhook};
use crate::id::{AccountId, EventId, WebhookId};

/// All webhooks and events.
#[derive(Debug, Default)]
pub struct Definitions {
    pub webhooks: BTreeMap<WebhookId, Webhook>,
    pub events: BTreeMap<EventId, Event>,
}

/// What rules are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableKey {
    pub account: AccountId,
    pub table: String,
}
