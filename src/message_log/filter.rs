//! The filter of message log entries.

use jiff::Timestamp;

use super::entry::{CallStatus, LogEntry};
use crate::id::{AccountId, EventId, MessageId, WebhookId};
use crate::kafka::topic_reader::Range;

/// Selects the entries that match all of its fields. The default matches every entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    pub account: Option<AccountId>,
    pub webhook: Option<WebhookId>,
    pub event: Option<EventId>,
    pub message: Option<MessageId>,
    /// Any of these statuses; every status if empty.
    pub statuses: Vec<CallStatus>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl EntryFilter {
    /// Selects all entries of a webhook, which must belong to this account.
    pub fn of(account: AccountId, webhook: WebhookId) -> Self {
        Self { account: Some(account), webhook: Some(webhook), ..Self::default() }
    }

    pub fn matches(&self, entry: &LogEntry) -> bool {
        self.webhook.is_none_or(|webhook| webhook == entry.webhook)
            && self.account.as_ref().is_none_or(|account| *account == entry.account)
            && self.event.is_none_or(|event| event == entry.event)
            && self.message.is_none_or(|message| message == entry.message)
            && (self.statuses.is_empty() || self.statuses.contains(&entry.status))
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }

    /// The range of the topic that contains the selected entries.
    pub fn range(&self) -> Range {
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        let key = self.message.map(|message| message.0.as_u128());
        Range { since_ms: ms(self.since), until_ms: ms(self.until), key }
    }
}
