//! Message log entries of calls. The status line decides about an entry; it is written when the response has ended.

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

/// How much more of a response body is read than is logged, in bytes, so that a secret at the end is recognized as
/// one: the longest header value, each character of it escaped (`\u003d`).
const SPARE: usize = 6 * MAX_HEADER;

/// An attempt before its response is known.
pub(super) struct Sent {
    /// The address that was dialled.
    pub peer: Option<SocketAddr>,
    /// The value of the `Authorization` header, if the webhook's calls have one.
    pub authorization: Option<HeaderValue>,
    pub took: Duration,
}

/// An attempt with its result.
pub(super) struct Attempted<'a> {
    pub sent: Sent,
    pub class: &'static str,
    /// Why it failed.
    pub cause: Option<&'a Cause>,
    /// The HTTP status of the response.
    pub code: Option<u16>,
}

/// An entry that waits for the body of its response.
pub(super) struct PendingEntry {
    entry: LogEntry,
    /// Max bytes of the body that are logged.
    keep: usize,
    target: Arc<Target>,
    authorization: Option<HeaderValue>,
}

impl PendingEntry {
    /// Creates the entry of an attempt that the call has already counted. The next attempt follows after the given
    /// wait. None if the message log wants no entry.
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

    /// How many bytes of the response body the entry needs.
    pub fn wanted(&self) -> usize {
        if self.keep == 0 { 0 } else { self.keep + SPARE }
    }

    /// Passes the entry on, with the start of the response body.
    pub fn tell(mut self, onward: &dyn CallSink, begun: &[u8]) {
        if let Some(attempt) = self.entry.attempt.as_mut().filter(|_| !begun.is_empty()) {
            attempt.response = Some(shown(begun, &self.target, self.authorization.as_ref(), self.keep));
        }
        onward.log(self.entry);
    }
}

/// Logs a call that ends without an attempt.
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
