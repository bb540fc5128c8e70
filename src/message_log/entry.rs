//! An entry of the message log, and its JSON.
//!
//! The topic's records outlast the program that wrote them. So keys are only added, and readers skip a record that is
//! not an entry.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{AccountId, CallId, EventId, MessageId, RecordPosition, WebhookId};
use crate::kafka::topic_reader::Record;

/// The result of one attempt, or of a call that ended without one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When the attempt ended, or the call that had none.
    pub at: Timestamp,
    pub account: AccountId,
    pub webhook: WebhookId,
    pub event: EventId,
    pub message: MessageId,
    /// None if the message was too large to be rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Version of the webhook's definition that the attempt used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The whole URL, which may contain a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Arc<str>>,
    pub status: CallStatus,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Number of attempts of the call so far, including this one.
    pub attempts: u32,
    /// How the attempt ended, or why there was none, as the class that metrics count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Cow<'static, str>>,
    /// The error text, if the attempt failed. It contains no address, and only scheme, host and port of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<str>>,
    /// None if nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// The place of the row change's record.
    pub source: RecordPosition,
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The address that was dialled, which is the proxy's if there is one. None without a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The response's HTTP status. For class `token` the status of the token endpoint, for class `proxy` that of the
    /// proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// From the start of the attempt to the response's status line, or to the failure.
    pub latency_ms: f64,
    /// Bytes of the body that was sent.
    pub request_bytes: usize,
    /// The first bytes of the response's body; invalid UTF-8 is replaced with �.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// The status of a call after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallStatus {
    /// The response was 2xx.
    Delivered,
    /// The attempt failed and is retried.
    WillRetry,
    /// The attempt failed and is not retried. The dead letter has the reason.
    Exhausted,
    /// The event or webhook was deleted or disabled before.
    Cancelled,
}

impl LogEntry {
    /// Reads a record; None if it is not an entry.
    pub fn read(record: &Record<'_>) -> Option<Self> {
        serde_json::from_slice(record.value?).ok()
    }

    /// The record's key, which keeps all entries of a message in one partition.
    pub fn key(&self) -> String {
        self.message.to_string()
    }

    pub fn value(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }
}

/// The newest entry of each call, at the position of the call's first entry.
pub fn newest_per_call(entries: Vec<LogEntry>) -> Vec<LogEntry> {
    let mut newest: Vec<LogEntry> = Vec::new();
    let mut indexes = HashMap::new();
    for entry in entries {
        let index = *indexes.entry((entry.message, entry.call)).or_insert(newest.len());
        match newest.get_mut(index) {
            None => newest.push(entry),
            Some(other) if (other.at, other.attempts) < (entry.at, entry.attempts) => *other = entry,
            Some(_) => {}
        }
    }
    newest
}

/// Sorts the entries of a message by attempt, and removes copies, because the client may have written an entry twice.
pub fn oldest_first(mut entries: Vec<LogEntry>) -> Vec<LogEntry> {
    entries.sort_by_key(|entry| (entry.at, entry.attempts));
    entries.dedup();
    entries
}

impl CallStatus {
    const ALL: [CallStatus; 4] =
        [CallStatus::Delivered, CallStatus::WillRetry, CallStatus::Exhausted, CallStatus::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            CallStatus::Delivered => "Delivered",
            CallStatus::WillRetry => "WillRetry",
            CallStatus::Exhausted => "Exhausted",
            CallStatus::Cancelled => "Cancelled",
        }
    }
}

/// Statuses of a filter: one by its name, or `Failed` for the two statuses of a failed attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusFilter(pub Vec<CallStatus>);

/// A text that is not a status, nor `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status: use Delivered, WillRetry, Exhausted or Cancelled, or Failed")]
pub struct UnknownStatus(String);

impl FromStr for StatusFilter {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        if text == "Failed" {
            return Ok(Self(vec![CallStatus::WillRetry, CallStatus::Exhausted]));
        }
        let known = CallStatus::ALL.into_iter().find(|status| status.as_str() == text);
        known.map(|status| Self(vec![status])).ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}
