//! Reads the log back: a page of entries, or where a message came from.

use std::collections::HashMap;
use std::time::Duration;

use super::entry::LogEntry;
use super::{Config, EntryFilter, MessageLogLevel};
use crate::id::{AccountId, EventId, MessageId, Place, WebhookId};
use crate::kafka::topic_reader::{Bounds, Error, Page, Record, TopicCursor, TopicReader};

/// What finding a message ends at.
const SEARCH: Bounds = Bounds { found: 1, bytes: 1024 * 1024 * 1024, time: Duration::from_secs(8) };

/// The log in its topic.
pub struct MessageLog {
    journal: TopicReader,
    level: MessageLogLevel,
}

/// What a message was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub event: EventId,
    /// Where the row change's record stands, as of the message's newest entry.
    pub place: Place,
}

impl MessageLog {
    /// `client` says how the cluster is reached (brokers, security).
    pub fn new(config: &Config, client: &HashMap<String, String>) -> Self {
        let journal = TopicReader::new(&config.topic, client.clone().into_iter().collect());
        Self { journal, level: config.level }
    }

    /// Whether instances of this configuration write it.
    pub fn is_written(&self) -> bool {
        self.level != MessageLogLevel::Off
    }

    /// Those that are meant, the newest first, from the cursor on.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn page(
        &self,
        filter: EntryFilter,
        from: Option<TopicCursor>,
        bounds: Bounds,
    ) -> Result<Page<LogEntry>, Error> {
        let (range, key) = (filter.range(), filter.message.map(|message| message.to_string()));
        let look = move |record: &Record<'_>| {
            // Most of a partition is of other messages, and known by its key.
            let may_be = key.as_ref().is_none_or(|key| record.key == Some(key.as_bytes()));
            may_be.then(|| LogEntry::read(record))?.filter(|entry| filter.takes(entry))
        };
        self.journal.page(from, range, bounds, look).await
    }

    /// What a message of a webhook was made of; None if there is no entry of it, or none among the newest of its
    /// partition that can be read in 8 seconds, at most 1 GiB of them.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn find(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        message: MessageId,
    ) -> Result<Option<Origin>, Error> {
        let filter = EntryFilter { message: Some(message), ..EntryFilter::of(account.clone(), webhook) };
        let newest = self.page(filter, None, SEARCH).await?.found.into_iter().next();
        Ok(newest.map(|entry| Origin { event: entry.event, place: entry.source }))
    }
}
