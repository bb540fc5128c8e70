//! Reads the message log: a page of entries, or the origin of a message.

use std::collections::HashMap;
use std::time::Duration;

use super::entry::LogEntry;
use super::{Config, EntryFilter, MessageLogLevel};
use crate::id::{AccountId, EventId, MessageId, RecordPosition, WebhookId};
use crate::kafka::topic_reader::{Error, Page, PageLimits, Record, TopicCursor, TopicReader};

/// The bounds of a search for a message.
const SEARCH_LIMITS: PageLimits =
    PageLimits { max_found: 1, max_bytes: 1024 * 1024 * 1024, max_time: Duration::from_secs(8) };

/// Reader of the message log's topic.
pub struct MessageLogReader {
    topic_reader: TopicReader,
    level: MessageLogLevel,
}

/// The origin of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageOrigin {
    pub event: EventId,
    /// The place of the row change's record, from the message's newest entry.
    pub source_position: RecordPosition,
}

impl MessageLogReader {
    /// `client` has the settings that reach the cluster (brokers, security).
    pub fn new(config: &Config, client: &HashMap<String, String>) -> Self {
        let topic_reader = TopicReader::new(&config.topic, client.clone().into_iter().collect());
        Self { topic_reader, level: config.level }
    }

    /// Whether instances with this configuration write the log.
    pub fn is_written(&self) -> bool {
        self.level != MessageLogLevel::Off
    }

    /// Reads a page of the entries that the filter matches, newest first, from the cursor on.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn page(
        &self,
        filter: EntryFilter,
        from: Option<TopicCursor>,
        bounds: PageLimits,
    ) -> Result<Page<LogEntry>, Error> {
        let (range, key) = (filter.range(), filter.message.map(|message| message.to_string()));
        let look = move |record: &Record<'_>| {
            // Most entries of a partition are of other messages, and their keys show it.
            let may_match = key.as_ref().is_none_or(|key| record.key == Some(key.as_bytes()));
            may_match.then(|| LogEntry::read(record))?.filter(|entry| filter.matches(entry))
        };
        self.topic_reader.page(from, range, bounds, look).await
    }

    /// Finds the origin of a webhook's message; None if it has no entry, or none among the newest entries of its
    /// partition that can be read in 8 seconds, at most 1 GiB.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn find(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        message: MessageId,
    ) -> Result<Option<MessageOrigin>, Error> {
        let filter = EntryFilter { message: Some(message), ..EntryFilter::of(account.clone(), webhook) };
        let newest = self.page(filter, None, SEARCH_LIMITS).await?.found.into_iter().next();
        Ok(newest.map(|entry| MessageOrigin { event: entry.event, source_position: entry.source }))
    }
}
