//! The contents of a dead letter's record. `settle::dead_letter` writes them; docs/dead-letters.md has the table of
//! headers.
//!
//! Reading is tolerant, since older and newer versions and other programs may write to the topic. Missing and invalid
//! values are None.

mod filter;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use crate::id::{AccountId, CallId, EventId, MessageId, RowKey, WebhookId};
use crate::kafka::topic_reader::Record;
use crate::settle::HEADER_PREFIX;

pub use self::filter::{BadUrlPrefix, DeadLetterFilter, UrlPrefix};

/// Max bytes of a header that is read. The longest header that this program writes is a URL.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Position of a dead letter in its topic, as its id: `2:1044`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId {
    pub partition: i32,
    pub offset: i64,
}

/// A text that is not a dead letter's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a dead letter's id: it has a partition and an offset, such as 2:1044")]
pub struct BadLetterId(pub String);

/// A text that is not a kind of dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a kind of dead letter: use call, record or redriven")]
pub struct UnknownLetterKind(String);

/// Kind of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// One message to one URL.
    Call,
    /// A record that can't be decoded, or that no message could be made of.
    Record,
    /// Not a letter, but a marker: another letter was redriven.
    Redriven,
}

/// A dead letter without its key and value.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    /// When the topic took the record.
    pub written_at: Timestamp,
    pub kind: Option<DeadLetterKind>,
    pub class: Option<String>,
    pub cause: Option<String>,
    /// Topic, partition and offset of the row change's record.
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    /// Kafka timestamp of the record, in letters of kind `record`.
    pub timestamp: Option<Timestamp>,
    pub account: Option<AccountId>,
    pub webhook: Option<WebhookId>,
    pub event: Option<EventId>,
    pub message: Option<MessageId>,
    pub call: Option<CallId>,
    /// Row of the change, if its webhook wanted row order.
    pub row_key: Option<RowKey>,
    /// The full URL, which may hold a token.
    pub url: Option<String>,
    pub event_date: Option<String>,
    pub sequence: Option<String>,
    pub attempts: Option<u32>,
    /// HTTP status of the last response.
    pub status: Option<u16>,
    /// When the call was first queued.
    pub first_due: Option<Timestamp>,
    /// When the call or the record was dead-lettered.
    pub ended_at: Option<Timestamp>,
    /// Size of the value in bytes. None if there is no value.
    pub bytes: Option<usize>,
    /// Size in bytes of a value that was dropped because the topic refused it.
    pub dropped_value_bytes: Option<u64>,
    /// The same for the key.
    pub dropped_key_bytes: Option<u64>,
    /// In a marker: the letter that was redriven.
    pub redriven_letter: Option<DeadLetterId>,
    /// When the letter was last redriven. Its record does not say that; `RedriveMarkers` sets it.
    pub redriven_at: Option<Timestamp>,
}

impl DeadLetter {
    /// Reads a record's headers, of which any may be missing.
    pub fn read(record: &Record<'_>) -> Self {
        let id = DeadLetterId { partition: record.partition, offset: record.offset };
        let written = Timestamp::from_millisecond(record.timestamp_ms).unwrap_or_default();
        let mut letter = Self::without_headers(id, written, record.value.map(<[u8]>::len));
        for (name, value) in &record.headers {
            let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_HEADER_BYTES);
            if let (Some(name), Some(text)) = (name.strip_prefix(HEADER_PREFIX), text) {
                letter.read_header(name, text);
            }
        }
        letter
    }

    /// Position of the row change, then of the letter: sorts letters about one row in the order of its changes.
    pub(crate) fn sort_key(&self) -> (Option<&str>, Option<i32>, Option<i64>, DeadLetterId) {
        (self.topic.as_deref(), self.partition, self.offset, self.id)
    }

    fn without_headers(id: DeadLetterId, written: Timestamp, bytes: Option<usize>) -> Self {
        Self {
            id,
            written_at: written,
            kind: None,
            class: None,
            cause: None,
            topic: None,
            partition: None,
            offset: None,
            timestamp: None,
            account: None,
            webhook: None,
            event: None,
            message: None,
            call: None,
            row_key: None,
            url: None,
            event_date: None,
            sequence: None,
            attempts: None,
            status: None,
            first_due: None,
            ended_at: None,
            bytes,
            dropped_value_bytes: None,
            dropped_key_bytes: None,
            redriven_letter: None,
            redriven_at: None,
        }
    }

    /// Reads a header. Skips unknown names.
    fn read_header(&mut self, name: &str, text: &str) {
        let owned = || Some(text.to_owned());
        match name {
            "kind" => self.kind = text.parse().ok(),
            "class" => self.class = owned(),
            "cause" => self.cause = owned(),
            "topic" => self.topic = owned(),
            "partition" => self.partition = text.parse().ok(),
            "offset" => self.offset = text.parse().ok(),
            "timestamp" => self.timestamp = text.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            "account" => self.account = Some(text.into()),
            "webhook" => self.webhook = text.parse().ok(),
            "event" => self.event = text.parse().ok(),
            "message" => self.message = text.parse().ok(),
            "call" => self.call = Uuid::parse_str(text).ok().map(CallId),
            "row" => self.row_key = text.parse().ok(),
            "url" => self.url = owned(),
            "event-date" => self.event_date = owned(),
            "sequence" => self.sequence = owned(),
            "attempts" => self.attempts = text.parse().ok(),
            "status" => self.status = text.parse().ok(),
            "offered" => self.first_due = text.parse().ok(),
            "ended" => self.ended_at = text.parse().ok(),
            "value-left-out" => self.dropped_value_bytes = text.parse().ok(),
            "key-left-out" => self.dropped_key_bytes = text.parse().ok(),
            "letter" => self.redriven_letter = text.parse().ok(),
            _ => {}
        }
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

impl FromStr for DeadLetterId {
    type Err = BadLetterId;

    fn from_str(text: &str) -> Result<Self, BadLetterId> {
        let read = || {
            let (partition, offset) = text.split_once(':')?;
            // A sign would allow several texts for the same id.
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let both = digits(partition) && digits(offset);
            both.then_some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        };
        read().ok_or_else(|| BadLetterId(text.to_owned()))
    }
}

impl DeadLetterKind {
    pub fn as_str(self) -> &'static str {
        match self {
            DeadLetterKind::Call => "call",
            DeadLetterKind::Record => "record",
            DeadLetterKind::Redriven => "redriven",
        }
    }
}

impl FromStr for DeadLetterKind {
    type Err = UnknownLetterKind;

    fn from_str(text: &str) -> Result<Self, UnknownLetterKind> {
        let known = [DeadLetterKind::Call, DeadLetterKind::Record, DeadLetterKind::Redriven]
            .into_iter()
            .find(|kind| kind.as_str() == text);
        known.ok_or_else(|| UnknownLetterKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
