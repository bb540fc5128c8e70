//! Message log entries of calls. The status line decides about an entry; it is written when the response has ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;

use super::redact::redacted_response;
use super::{Call, CallSink, FailureCause};
use crate::definition::MAX_HEADER_VALUE;
use crate::message_log::{Attempt, CallStatus, LogEntry};
use crate::rules::Target;

/// How much more of a response body is read than is logged, in bytes, so that a secret at the end is recognized as
/// one: the longest header value, each character of it escaped (`\u003d`).
const EXTRA_BODY_BYTES: usize = 6 * MAX_HEADER_VALUE;

/// An attempt before its response is known.
pub(super) struct SentAttempt {
    /// The address that was dialled.
    pub peer: Option<SocketAddr>,
    /// The value of the `Authorization` header, if the webhook's calls have one.
    pub authorization: Option<HeaderValue>,
    pub duration: Duration,
}

/// An attempt with its result.
pub(super) struct AttemptResult<'a> {
    pub sent: SentAttempt,
    pub class: &'static str,
    /// Why it failed.
    pub cause: Option<&'a FailureCause>,
    /// The HTTP status of the response.
    pub http_status: Option<u16>,
}

/// An entry that waits for the body of its response.
pub(super) struct PendingEntry {
    entry: LogEntry,
    /// Max bytes of the body that are logged.
    max_body_bytes: usize,
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
        attempted: AttemptResult<'_>,
    ) -> Option<Self> {
        let keep = onward.logged_body_limit(status, call.attempts)?;
        let entry = entry(call, status);
        let AttemptResult {
            sent: SentAttempt { peer, authorization, duration: took },
            class,
            cause,
            http_status: code,
        } = attempted;
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
        Some(Self { entry, max_body_bytes: keep, target: call.message.target.clone(), authorization })
    }

    /// How many bytes of the response body the entry needs.
    pub fn wanted(&self) -> usize {
        if self.max_body_bytes == 0 { 0 } else { self.max_body_bytes + EXTRA_BODY_BYTES }
    }

    /// Passes the entry on, with the start of the response body.
    pub fn write(mut self, onward: &dyn CallSink, body_start: &[u8]) {
        if let Some(attempt) = self.entry.attempt.as_mut().filter(|_| !body_start.is_empty()) {
            attempt.response =
                Some(redacted_response(body_start, &self.target, self.authorization.as_ref(), self.max_body_bytes));
        }
        onward.log(self.entry);
    }
}

/// Logs a call that ends without an attempt.
pub(super) fn log_ended_call(onward: &dyn CallSink, call: &Call, status: CallStatus, cause: Option<&FailureCause>) {
    if onward.logged_body_limit(status, call.attempts).is_some() {
        onward.log(LogEntry {
            class: cause.map(|cause| cause.class.into()),
            cause: cause.map(text),
            ..entry(call, status)
        });
    }
}

fn text(cause: &FailureCause) -> Box<str> {
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
        call: Some(message.call_id),
        version: Some(target.version),
        url: Some(target.endpoints[message.endpoint].url.clone()),
        status,
        next: None,
        attempts: call.attempts,
        class: None,
        cause: None,
        attempt: None,
        source: call.source_position.clone(),
    }
}
