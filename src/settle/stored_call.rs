//! A call as topics store it: as a dead letter, or while it waits for its next attempt.
//!
//! The record's value is the body as it was first rendered. Everything else is in headers: one header per field in a
//! dead letter, which people read, and a single header for a waiting call. The call's URL and secret are looked up
//! when the call is due, so a change of the webhook applies to it.

mod packed_header;
mod separate_headers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::outgoing::{HEADER_PREFIX, Outgoing, OutgoingHeaders, OutgoingKind};
use crate::decode::{EventDate, Sequence};
use crate::deliver::{Call, WriteCount};
use crate::id::{AccountId, CallId, EventId, MessageId, RecordPosition, RowKey, WebhookId};
use crate::kafka::producer::NewRecord;
use crate::receipt::Receipt;
use crate::render::Message;
use crate::rules::{EventState, Target};

/// A call without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCall {
    pub account: AccountId,
    pub webhook: WebhookId,
    pub event: EventId,
    pub message: MessageId,
    pub call: CallId,
    pub url: Arc<str>,
    /// Index of the URL among the webhook's URLs, and their number.
    pub endpoint: (usize, usize),
    pub event_date: EventDate,
    pub sequence: Sequence,
    /// The row change's record, and when it was appended, in milliseconds since 1970.
    pub source_position: RecordPosition,
    pub appended_ms: i64,
    /// When the first attempt was due, in milliseconds since 1970.
    pub first_due_ms: i64,
    pub attempts: u32,
    pub deferrals: u32,
    pub write_count: WriteCount,
    /// Row of the change, if its webhook wanted row order when the call was made.
    pub row_key: Option<RowKey>,
}

/// How long a call waits, and which instances may end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallDue {
    /// When the call is due, in milliseconds since 1970.
    pub due_ms: i64,
    /// Offset of the definitions topic up to which the writer of the record knew the definitions. Only an instance
    /// that has read as far may treat an unknown definition as deleted.
    pub definitions_offset: i64,
}

/// A record that is not a valid call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid retry record: {part} is {problem}")]
pub struct InvalidCall {
    part: CallPart,
    problem: &'static str,
}

/// Part of a record that is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CallPart {
    Header(&'static str),
    /// A field of the packed header: its number, counted from one, and its name.
    Field(usize, &'static str),
}

impl fmt::Display for CallPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallPart::Header(name) => write!(f, "header {HEADER_PREFIX}{name}"),
            CallPart::Field(number, name) => {
                write!(f, "field {number} ({name}) of header {}", packed_header::FULL_NAME)
            }
        }
    }
}

/// The problem of a value that can't be parsed.
const MALFORMED: &str = "malformed";

impl StoredCall {
    pub fn of(call: &Call) -> Self {
        let (attempts, deferrals, step) = (call.attempts, call.deferrals, call.write_count);
        let first =
            Self::new(&call.message, call.source_position.clone(), call.row_key, (call.appended_ms, call.first_due_ms));
        Self { attempts, deferrals, write_count: step, ..first }
    }

    /// A message's call before its first attempt. `place` is the row change's record. `appended_ms` is when that was
    /// appended, `offered_ms` when the first attempt is due, both in milliseconds since 1970.
    pub fn new(
        message: &Message,
        place: RecordPosition,
        row: Option<RowKey>,
        (appended_ms, offered_ms): (i64, i64),
    ) -> Self {
        let target = &message.target;
        Self {
            account: target.account.clone(),
            webhook: target.webhook,
            event: message.event,
            message: message.id,
            call: message.call_id,
            url: target.endpoints[message.endpoint].url.clone(),
            endpoint: (message.endpoint, target.endpoints.len()),
            event_date: message.event_date,
            sequence: message.sequence,
            source_position: place,
            appended_ms,
            first_due_ms: offered_ms,
            attempts: 0,
            deferrals: 0,
            write_count: WriteCount::FIRST,
            row_key: row,
        }
    }

    /// Reads the headers of a waiting call's record.
    ///
    /// # Errors
    /// A header is missing or unreadable: another program has written to the topic.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, InvalidCall> {
        match header(packed_header::FULL_NAME) {
            Some(packed) => packed_header::read(packed).map(|(call, _)| call),
            None => separate_headers::read(header),
        }
    }

    /// Like [`StoredCall::read`], and returns until when the call waits too.
    ///
    /// # Errors
    /// As [`StoredCall::read`].
    pub fn read_waiting<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<(Self, CallDue), InvalidCall> {
        match header(packed_header::FULL_NAME) {
            Some(packed) => packed_header::read(packed),
            None => Ok((separate_headers::read(&header)?, separate_headers::read_due(header)?)),
        }
    }

    /// Reads a dead letter's headers: the call has ended, and may start again. Earlier versions wrote fewer headers.
    /// The index of the URL is unknown then, so the call can only go to the same URL.
    ///
    /// # Errors
    /// As [`StoredCall::read`].
    pub fn parse_dead_letter<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, InvalidCall> {
        separate_headers::read_letter(header)
    }

    /// The headers of a dead letter.
    pub fn headers(&self, kind: &str) -> OutgoingHeaders {
        separate_headers::write(self, kind)
    }

    /// The record of a waiting call.
    pub(super) fn waiting_record(&self, until: CallDue, body: Bytes) -> Outgoing {
        let headers = OutgoingHeaders::with_few("retry")
            .add(packed_header::SHORT_NAME, packed_header::write(self, self.write_count.next(), until));
        Outgoing {
            kind: OutgoingKind::Retry,
            source_position: self.source_position.to_string(),
            record: NewRecord {
                // Hashes spread calls evenly over the topic's partitions. All calls of a row are in one partition.
                key: Some(match self.row_key {
                    Some(row) => Bytes::copy_from_slice(&row.bytes()),
                    None => Bytes::copy_from_slice(self.call.0.as_bytes()),
                }),
                value: Some(body),
                headers: headers.into(),
            },
        }
    }

    /// The record of the call in the row-order topic. All calls of a row are in one partition. A call that was made
    /// when its webhook wanted no row order counts as a separate row.
    pub(super) fn row_order_record(mut self, until: CallDue, body: Bytes) -> Outgoing {
        self.row_key.get_or_insert(RowKey::for_call(self.call));
        self.waiting_record(until, body)
    }

    /// The record of a call that is sent again: due now, as if no attempt had been made.
    pub fn due(self, now: Timestamp, definitions: i64, body: Bytes) -> Outgoing {
        let now_ms = now.as_millisecond();
        let step = WriteCount::requested(now_ms);
        let call = Self { attempts: 0, deferrals: 0, first_due_ms: now_ms, write_count: step, ..self };
        call.waiting_record(CallDue { due_ms: now_ms, definitions_offset: definitions }, body)
    }

    /// Index of the webhook's URL that the call goes to now: the same URL, or the URL at the same index if the number
    /// of URLs is unchanged. None if the URL was removed.
    pub fn current_endpoint(&self, target: &Target) -> Option<usize> {
        let by_url = target.endpoints.iter().position(|endpoint| endpoint.url == self.url);
        let (position, of) = self.endpoint;
        by_url.or_else(|| (of == target.endpoints.len() && position < of).then_some(position))
    }

    /// Restores the call.
    pub fn into_call(
        self,
        endpoint: usize,
        target: Arc<Target>,
        live: EventState,
        body: Bytes,
        receipt: Receipt,
    ) -> Call {
        let message = Message {
            id: self.message,
            call_id: self.call,
            event: self.event,
            target,
            event_state: live,
            endpoint,
            event_date: self.event_date,
            sequence: self.sequence,
            body,
        };
        Call {
            message,
            source_position: self.source_position,
            appended_ms: self.appended_ms,
            receipt,
            attempts: self.attempts,
            deferrals: self.deferrals,
            first_due_ms: self.first_due_ms,
            write_count: self.write_count,
            row_key: self.row_key,
            from_overflow: false,
        }
    }
}

impl CallDue {
    /// How long the call still waits at `now_ms`, in milliseconds since 1970.
    pub fn remaining(self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.due_ms.saturating_sub(now_ms)).unwrap_or(0))
    }

    /// Reads the headers of a waiting call's record.
    ///
    /// # Errors
    /// A header is missing or unreadable.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, InvalidCall> {
        match header(packed_header::FULL_NAME) {
            Some(packed) => packed_header::read_due(packed),
            None => separate_headers::read_due(header),
        }
    }
}

/// Parses a text like `1/3`.
fn endpoint(text: &str) -> Option<(usize, usize)> {
    let (position, of) = text.split_once('/')?;
    Some((position.parse().ok()?, of.parse().ok()?))
}

#[cfg(test)]
pub mod samples {
    use super::*;

    pub fn sample_call() -> StoredCall {
        StoredCall {
            account: "acme".into(),
            webhook: "abc123".parse().unwrap(),
            event: "def456".parse().unwrap(),
            message: MessageId(uuid::Uuid::from_u128(1)),
            call: CallId(uuid::Uuid::from_u128(2)),
            url: "https://b.example/x?y=é".into(),
            endpoint: (1, 3),
            event_date: EventDate { at: "2026-01-02T03:04:05.670Z".parse().unwrap(), fraction_digits: 3 },
            sequence: Sequence::Binlog { file: 12, pos: 345, row: 2 },
            source_position: RecordPosition { topic: "changes".into(), partition: 3, offset: 9 },
            appended_ms: 1_767_323_045_900,
            first_due_ms: 1_767_323_046_001,
            attempts: 4,
            deferrals: 2,
            write_count: WriteCount { requested_ms: Some(1_767_323_046_001), writes: Some(7) },
            row_key: "00ff00ff00ff00ff".parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::sample_call;
    use super::*;
    use crate::definition::samples::webhook;

    fn read(record: &Outgoing) -> (Result<StoredCall, InvalidCall>, Result<CallDue, InvalidCall>) {
        let header = |name: &str| record.record.headers.get(name);
        (StoredCall::read(header), CallDue::read(header))
    }

    #[test]
    fn written_form_round_trips() {
        let until = CallDue { due_ms: 1_767_323_099_000, definitions_offset: 77 };
        let uncounted = WriteCount { requested_ms: None, writes: None };
        let sequences = [
            (Sequence::Postgres { commit: u64::MAX, lsn: 0, after_delete: true }, WriteCount::FIRST),
            (Sequence::Postgres { commit: 1, lsn: 2, after_delete: false }, uncounted),
            (Sequence::Binlog { file: 1, pos: 2, row: 1 }, WriteCount::requested(i64::MIN)),
            (Sequence::Log { commit: u128::MAX, change: 0, minor: u64::MAX, after_delete: false }, WriteCount::FIRST),
            (Sequence::Offset { partition: i32::MAX, offset: i64::MAX }, sample_call().write_count),
        ];
        for (sequence, step) in sequences {
            let row = sample_call().row_key.filter(|_| matches!(sequence, Sequence::Binlog { .. }));
            let kept = StoredCall { sequence, row_key: row, write_count: step, ..sample_call() };
            let record = kept.waiting_record(until, Bytes::from_static(b"{}"));
            assert_eq!(read(&record), (Ok(StoredCall { write_count: step.next(), ..kept }), Ok(until)));
        }
    }

    #[test]
    fn calls_of_one_row_have_one_key() {
        let until = CallDue { due_ms: 0, definitions_offset: 0 };
        let of = |call: u128, row| {
            let kept = StoredCall { call: CallId(uuid::Uuid::from_u128(call)), row_key: row, ..sample_call() };
            kept.row_order_record(until, Bytes::new()).record.key
        };
        assert_eq!(of(1 << 64, sample_call().row_key), of(2 << 64, sample_call().row_key));
        assert_ne!(of(1 << 64, None), of(2 << 64, None), "a call without a row has a separate key");
    }

    #[test]
    fn stored_call_goes_to_its_url_or_the_one_that_replaced_it() {
        let to = |urls: &[&str]| {
            let mut webhook = webhook("abc123", "A");
            webhook.urls = urls.iter().map(|url| (*url).to_owned()).collect();
            sample_call().current_endpoint(&Target::of(&webhook).unwrap())
        };
        let (a, b, c, d) =
            ("https://a.example/", "https://b.example/x?y=é", "https://c.example/", "https://d.example/");
        assert_eq!(to(&[a, b, c]), Some(1));
        assert_eq!(to(&[b]), Some(0), "the same URL, at any index");
        assert_eq!(to(&[a, d, c]), Some(1), "the URL that replaced it");
        assert_eq!(to(&[a, c]), None, "the URL was removed");
    }
}
