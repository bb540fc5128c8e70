//! What the message log is told of calls: decided with the status line, and told when the answer has ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;

use super::redact::shown;
use super::{Call, CallSink, Cause};
use crate::definition::MAX_HEADER;
use crate::message_log::{Attempt, CallStatus, LogEntry};
use crate::rules::Target;

/// How much more of an answer is read than is shown, so that a secret at the end is known for one, in bytes: the longest
/// value of a header, of which each sign is escaped (`\u003d`).
const SPARE: usize = 6 * MAX_HEADER;

/// What an attempt came to until there was an answer, or none.
pub(super) struct Sent {
    /// What was dialled.
    pub peer: Option<SocketAddr>,
    /// What it was authorized by, where the webhook's calls are.
    pub authorization: Option<HeaderValue>,
    pub took: Duration,
}

/// An attempt, as it went.
pub(super) struct Attempted<'a> {
    pub sent: Sent,
    pub class: &'static str,
    /// Why it failed.
    pub cause: Option<&'a Cause>,
    /// The HTTP status of whoever answered.
    pub code: Option<u16>,
}

/// An entry that waits for its answer's body.
pub(super) struct PendingEntry {
    entry: LogEntry,
    /// How much of the body it has, in bytes.
    keep: usize,
    target: Arc<Target>,
    authorization: Option<HeaderValue>,
}

impl PendingEntry {
    /// Of an attempt that the call has counted; the next one follows after this wait. None if it has no entry.
    pub fn of(
        onward: &dyn CallSink,
        call: &Call,
        (status, wait): (CallStatus, Option<Duration>),
        attempted: Attempted<'_>,
    ) -> Option<Self> {
        let keep = onward.logs(status, call.attempts)?;
        let entry = entry(call, status);
        let Attempted { sent: Sent { peer, authorization, took }, class, cause, code } = attempted;
        let attempt = Attempt {
            address: peer,
            code,
            latency_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
            request_bytes: call.message.body.len(),
            response: None,
        };
        let next = wait.and_then(|wait| entry.at.checked_add(wait).ok());
        let entry =
            LogEntry { next, class: Some(class.into()), cause: cause.map(text), attempt: Some(attempt), ..entry };
        Some(Self { entry, keep, target: call.message.target.clone(), authorization })
    }

    /// How many bytes of the answer's body it wants to see.
    pub fn wanted(&self) -> usize {
        if self.keep == 0 { 0 } else { self.keep + SPARE }
    }

    /// Hands the entry on, with what the answer's body began with.
    pub fn tell(mut self, onward: &dyn CallSink, begun: &[u8]) {
        if let Some(attempt) = self.entry.attempt.as_mut().filter(|_| !begun.is_empty()) {
            attempt.response = Some(shown(begun, &self.target, self.authorization.as_ref(), self.keep));
        }
        onward.log(self.entry);
    }
}

/// Tells of a call that ends without an attempt.
pub(super) fn end(onward: &dyn CallSink, call: &Call, status: CallStatus, cause: Option<&Cause>) {
    if onward.logs(status, call.attempts).is_some() {
        onward.log(LogEntry {
            class: cause.map(|cause| cause.class.into()),
            cause: cause.map(text),
            ..entry(call, status)
        });
    }
}

fn text(cause: &Cause) -> Box<str> {
    cause.text.as_str().into()
}

fn entry(call: &Call, status: CallStatus) -> LogEntry {
    let (message, target) = (&call.message, &call.message.target);
    let now = Timestamp::now();
    LogEntry {
        at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        account: target.account.clone(),
        webhook: target.webhook,
        event: message.event,
        message: message.id,
        call: Some(message.call),
        version: Some(target.version),
        url: Some(target.endpoints[message.endpoint].url.clone()),
        status,
        next: None,
        attempts: call.attempts,
        class: None,
        cause: None,
        attempt: None,
        source: call.place.clone(),
    }
}
