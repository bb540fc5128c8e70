//! Which entries are meant.

use jiff::Timestamp;

use super::entry::{CallStatus, LogEntry};
use crate::id::{AccountId, EventId, MessageId, WebhookId};
use crate::kafka::topic_reader::Range;

/// Which entries are meant: those that all of it is true of. The default is all there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    pub account: Option<AccountId>,
    pub webhook: Option<WebhookId>,
    pub event: Option<EventId>,
    pub message: Option<MessageId>,
    /// One of these; any if there are none.
    pub status: Vec<CallStatus>,
    /// Of this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl EntryFilter {
    /// All of a webhook, which has to be one of this account.
    pub fn of(account: AccountId, webhook: WebhookId) -> Self {
        Self { account: Some(account), webhook: Some(webhook), ..Self::default() }
    }

    pub fn takes(&self, entry: &LogEntry) -> bool {
        self.webhook.is_none_or(|webhook| webhook == entry.webhook)
            && self.account.as_ref().is_none_or(|account| *account == entry.account)
            && self.event.is_none_or(|event| event == entry.event)
            && self.message.is_none_or(|message| message == entry.message)
            && (self.status.is_empty() || self.status.contains(&entry.status))
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }

    /// The part of the topic that they are in.
    pub fn range(&self) -> Range {
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        let key = self.message.map(|message| message.0.as_u128());
        Range { since_ms: ms(self.since), until_ms: ms(self.until), key }
    }
}
