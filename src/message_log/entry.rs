//! An entry of the log, and its JSON.
//!
//! The topic's records outlast the program that wrote them: keys are only added, and a record that is no entry is
//! passed over by whoever reads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{AccountId, CallId, EventId, MessageId, Place, WebhookId};
use crate::kafka::topic_reader::Record;

/// What became of one attempt, or of a call that ended without one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When the attempt ended, or the call without one.
    pub at: Timestamp,
    pub account: AccountId,
    pub webhook: WebhookId,
    pub event: EventId,
    pub message: MessageId,
    /// None of a message that was too large to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Of the webhook's definition, as the attempt was made by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The whole URL, which may hold a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Arc<str>>,
    pub status: CallStatus,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Attempts of the call so far, this one included.
    pub attempts: u32,
    /// How the attempt ended, or why there was none: a word, as metrics count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Cow<'static, str>>,
    /// The same in words, where it failed. It names no address, and of the URL scheme, host and port alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<str>>,
    /// None where nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Where the row change's record stands.
    pub source: Place,
}

/// One HTTP try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was really dialled: with a proxy between, the proxy. None if no connection came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The answer's HTTP status; of class token that of the token's endpoint, of class proxy that of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// From the attempt's start to the answer's status line, or to the failure.
    pub latency_ms: f64,
    /// Of the body that was sent.
    pub request_bytes: usize,
    /// The first bytes of the answer's body; what is no UTF-8 in them is �.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// How a call stands after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallStatus {
    /// A 2xx answer.
    Delivered,
    /// The attempt failed, and another follows.
    WillRetry,
    /// No other follows: its dead letter says why.
    Exhausted,
    /// Its event or webhook was deleted or disabled before.
    Cancelled,
}

impl LogEntry {
    /// Reads a record; None if it is no entry.
    pub fn read(record: &Record<'_>) -> Option<Self> {
        serde_json::from_slice(record.value?).ok()
    }

    /// The record's key, by which all of a message are in one partition.
    pub fn key(&self) -> String {
        self.message.to_string()
    }

    pub fn value(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }
}

/// The newest entry of each call among these, in the place of the call's first.
pub fn newest_of_calls(entries: Vec<LogEntry>) -> Vec<LogEntry> {
    let mut newest: Vec<LogEntry> = Vec::new();
    let mut places = HashMap::new();
    for entry in entries {
        let place = *places.entry((entry.message, entry.call)).or_insert(newest.len());
        match newest.get_mut(place) {
            None => newest.push(entry),
            Some(other) if (other.at, other.attempts) < (entry.at, entry.attempts) => *other = entry,
            Some(_) => {}
        }
    }
    newest
}

/// The entries of a message in the order of its attempts, and each once, though the client wrote it twice.
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

impl FromStr for CallStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is no status: use Delivered, WillRetry, Exhausted or Cancelled"))
    }
}

/// Statuses as people ask for them: by the name of one, or by `Failed` for both that a failed attempt can leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses(pub Vec<CallStatus>);

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "Failed" => Ok(Self(vec![CallStatus::WillRetry, CallStatus::Exhausted])),
            text => text.parse().map(|status| Self(vec![status])).map_err(|error| format!("{error}, or Failed")),
        }
    }
}
