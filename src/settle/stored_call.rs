//! A call as topics keep it: a dead letter's, or one that waits for its next attempt.
//!
//! A record's value is the body as it was first rendered; all else is in its headers: one each in a dead letter, which
//! people read, and one for all where a call waits. Where the call goes and what signs it is looked up when its time
//! comes, so that a webhook that has changed meanwhile gets it as it is now.

mod packed;
mod separate;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::outgoing::{Outgoing, OutgoingHeaders, OutgoingKind, PREFIX};
use crate::decode::{EventDate, Sequence};
use crate::deliver::Call;
use crate::id::{AccountId, CallId, EventId, MessageId, Place, RowKey, WebhookId, WriteCount};
use crate::receipt::Receipt;
use crate::render::Message;
use crate::rules::{Live, Target};

/// A call without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCall {
    pub account: AccountId,
    pub webhook: WebhookId,
    pub event: EventId,
    pub message: MessageId,
    pub call: CallId,
    pub url: Arc<str>,
    /// The URL's place among so many of its webhook.
    pub endpoint: (usize, usize),
    pub event_date: EventDate,
    pub sequence: Sequence,
    /// Where the row change's record stands, and when it was appended, milliseconds since 1970.
    pub place: Place,
    pub appended_ms: i64,
    /// When it was first meant to go out, milliseconds since 1970.
    pub offered_ms: i64,
    pub attempts: u32,
    pub deferrals: u32,
    pub step: WriteCount,
    /// The row that it is about, if its webhook wanted row order when it was made.
    pub row: Option<RowKey>,
}

/// Until when a call waits, and who may end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When it is to go out, milliseconds since 1970.
    pub due_ms: i64,
    /// Up to which offset of their log the definitions were known to whoever sent it to wait: only who knows as much
    /// may take it for one of a definition that is gone.
    pub definitions: i64,
}

/// A record that is no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no call: {part} is {problem}")]
pub struct InvalidCall {
    part: CallPart,
    problem: &'static str,
}

/// What there is a problem with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CallPart {
    Header(&'static str),
    /// One of those in the packed header: which it is, counted from one, and what it says.
    Field(usize, &'static str),
}

impl fmt::Display for CallPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallPart::Header(name) => write!(f, "its header {PREFIX}{name}"),
            CallPart::Field(number, name) => write!(f, "field {number} ({name}) of its header {}", packed::HEADER),
        }
    }
}

/// The problem of what can't be parsed.
const BAD: &str = "not what it has to be";

impl StoredCall {
    pub fn of(call: &Call) -> Self {
        let (attempts, deferrals, step) = (call.attempts, call.deferrals, call.step);
        let first = Self::first(&call.message, call.place.clone(), call.row, (call.appended_ms, call.offered_ms));
        Self { attempts, deferrals, step, ..first }
    }

    /// The call of a message that was never tried. `place` is the row change's record, appended at the first time
    /// and meant to go out at the second; both are in milliseconds since 1970.
    pub fn first(message: &Message, place: Place, row: Option<RowKey>, (appended_ms, offered_ms): (i64, i64)) -> Self {
        let target = &message.target;
        Self {
            account: target.account.clone(),
            webhook: target.webhook,
            event: message.event,
            message: message.id,
            call: message.call,
            url: target.endpoints[message.endpoint].url.clone(),
            endpoint: (message.endpoint, target.endpoints.len()),
            event_date: message.event_date,
            sequence: message.sequence,
            place,
            appended_ms,
            offered_ms,
            attempts: 0,
            deferrals: 0,
            step: WriteCount::FIRST,
            row,
        }
    }

    /// Reads the headers of a record that waits.
    ///
    /// # Errors
    /// One is missing or unreadable: another program has written to the topic.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, InvalidCall> {
        match header(packed::HEADER) {
            Some(packed) => packed::read(packed).map(|(call, _)| call),
            None => separate::read(header),
        }
    }

    /// The same, and until when it waits.
    ///
    /// # Errors
    /// As [`StoredCall::read`].
    pub fn read_waiting<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<(Self, Due), InvalidCall> {
        match header(packed::HEADER) {
            Some(packed) => packed::read(packed),
            None => Ok((separate::read(&header)?, separate::read_until(header)?)),
        }
    }

    /// Reads a dead letter's headers: the call has ended, and may begin anew. Earlier versions wrote fewer: which place the
    /// URL had is not known then, so that only the same URL counts.
    ///
    /// # Errors
    /// As [`StoredCall::read`].
    pub fn of_letter<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, InvalidCall> {
        separate::read_letter(header)
    }

    /// The headers of a dead letter.
    pub fn headers(&self, kind: &str) -> OutgoingHeaders {
        separate::write(self, kind)
    }

    /// The record of the call while it waits.
    pub(super) fn waiting(&self, until: Due, body: Bytes) -> Outgoing {
        let headers = OutgoingHeaders::few("retry").add(packed::NAME, packed::write(self, self.step.next(), until));
        Outgoing {
            kind: OutgoingKind::Retry,
            place: self.place.to_string(),
            // Hashes, so that calls are spread evenly over the topic's partitions. All of a row are in one.
            key: Some(match self.row {
                Some(row) => Bytes::copy_from_slice(&row.bytes()),
                None => Bytes::copy_from_slice(self.call.0.as_bytes()),
            }),
            value: Some(body),
            headers,
        }
    }

    /// The record of the call in the topic of row order, where all of its row are in one partition. One that was made
    /// when its webhook wanted no order is a row of its own.
    pub(super) fn in_order(mut self, until: Due, body: Bytes) -> Outgoing {
        self.row.get_or_insert(RowKey::alone(self.call));
        self.waiting(until, body)
    }

    /// The record of the call when it is sent out again: due now, as if it had never been tried.
    pub fn due(self, now: Timestamp, definitions: i64, body: Bytes) -> Outgoing {
        let now_ms = now.as_millisecond();
        let step = WriteCount::requested(now_ms);
        let call = Self { attempts: 0, deferrals: 0, offered_ms: now_ms, step, ..self };
        call.waiting(Due { due_ms: now_ms, definitions }, body)
    }

    /// The place among the webhook's URLs of the one that it goes to now: its own, else the one that has taken its
    /// place where their number is the same. None when its URL was taken away.
    pub fn endpoint_of(&self, target: &Target) -> Option<usize> {
        let same = target.endpoints.iter().position(|endpoint| endpoint.url == self.url);
        let (place, of) = self.endpoint;
        same.or_else(|| (of == target.endpoints.len() && place < of).then_some(place))
    }

    /// The call that it is again.
    pub fn into_call(self, endpoint: usize, target: Arc<Target>, live: Live, body: Bytes, receipt: Receipt) -> Call {
        let message = Message {
            id: self.message,
            call: self.call,
            event: self.event,
            target,
            live,
            endpoint,
            event_date: self.event_date,
            sequence: self.sequence,
            body,
        };
        Call {
            message,
            place: self.place,
            appended_ms: self.appended_ms,
            receipt,
            attempts: self.attempts,
            deferrals: self.deferrals,
            offered_ms: self.offered_ms,
            step: self.step,
            row: self.row,
            from_overflow: false,
        }
    }
}

impl Due {
    /// How long the call waits still, at a time in milliseconds since 1970.
    pub fn left(self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.due_ms.saturating_sub(now_ms)).unwrap_or(0))
    }

    /// Reads a retry record's headers.
    ///
    /// # Errors
    /// One is missing or unreadable.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, InvalidCall> {
        match header(packed::HEADER) {
            Some(packed) => packed::read_until(packed),
            None => separate::read_until(header),
        }
    }
}

/// Its text is `1/3`.
fn endpoint(text: &str) -> Option<(usize, usize)> {
    let (place, of) = text.split_once('/')?;
    Some((place.parse().ok()?, of.parse().ok()?))
}

#[cfg(test)]
pub mod samples {
    use super::*;

    pub fn kept() -> StoredCall {
        StoredCall {
            account: "acme".into(),
            webhook: "abc123".parse().unwrap(),
            event: "def456".parse().unwrap(),
            message: MessageId(uuid::Uuid::from_u128(1)),
            call: CallId(uuid::Uuid::from_u128(2)),
            url: "https://b.example/x?y=é".into(),
            endpoint: (1, 3),
            event_date: EventDate { at: "2026-01-02T03:04:05.670Z".parse().unwrap(), digits: 3 },
            sequence: Sequence::Binlog { file: 12, pos: 345, row: 2 },
            place: Place { topic: "changes".into(), partition: 3, offset: 9 },
            appended_ms: 1_767_323_045_900,
            offered_ms: 1_767_323_046_001,
            attempts: 4,
            deferrals: 2,
            step: WriteCount { requested_ms: Some(1_767_323_046_001), writes: Some(7) },
            row: "00ff00ff00ff00ff".parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;

    use super::samples::kept;
    use super::*;
    use crate::definition::samples::webhook;

    fn read(record: &Outgoing) -> (Result<StoredCall, InvalidCall>, Result<Due, InvalidCall>) {
        let headers = record.headers.clone().into_inner();
        let header = |name: &str| headers.iter().find(|header| header.key == name)?.value;
        (StoredCall::read(header), Due::read(header))
    }

    #[test]
    fn what_is_written_is_read() {
        let until = Due { due_ms: 1_767_323_099_000, definitions: 77 };
        let uncounted = WriteCount { requested_ms: None, writes: None };
        let sequences = [
            (Sequence::Postgres { commit: u64::MAX, lsn: 0, after_delete: true }, WriteCount::FIRST),
            (Sequence::Postgres { commit: 1, lsn: 2, after_delete: false }, uncounted),
            (Sequence::Binlog { file: 1, pos: 2, row: 1 }, WriteCount::requested(i64::MIN)),
            (Sequence::Log { commit: u128::MAX, change: 0, minor: u64::MAX, after_delete: false }, WriteCount::FIRST),
            (Sequence::Offset { partition: i32::MAX, offset: i64::MAX }, kept().step),
        ];
        for (sequence, step) in sequences {
            let row = kept().row.filter(|_| matches!(sequence, Sequence::Binlog { .. }));
            let kept = StoredCall { sequence, row, step, ..kept() };
            let record = kept.waiting(until, Bytes::from_static(b"{}"));
            assert_eq!(read(&record), (Ok(StoredCall { step: step.next(), ..kept }), Ok(until)));
        }
    }

    #[test]
    fn calls_of_one_row_have_one_key() {
        let until = Due { due_ms: 0, definitions: 0 };
        let of = |call: u128, row| {
            let kept = StoredCall { call: CallId(uuid::Uuid::from_u128(call)), row, ..kept() };
            kept.in_order(until, Bytes::new()).key
        };
        assert_eq!(of(1 << 64, kept().row), of(2 << 64, kept().row));
        assert_ne!(of(1 << 64, None), of(2 << 64, None), "what has no row waits for no other");
    }

    #[test]
    fn it_goes_to_its_url_as_long_as_there_is_one() {
        let to = |urls: &[&str]| {
            let mut webhook = webhook("abc123", "A");
            webhook.urls = urls.iter().map(|url| (*url).to_owned()).collect();
            kept().endpoint_of(&Target::of(&webhook).unwrap())
        };
        let (a, b, c, d) =
            ("https://a.example/", "https://b.example/x?y=é", "https://c.example/", "https://d.example/");
        assert_eq!(to(&[a, b, c]), Some(1));
        assert_eq!(to(&[b]), Some(0), "its own, wherever it stands");
        assert_eq!(to(&[a, d, c]), Some(1), "the one that has taken its place");
        assert_eq!(to(&[a, c]), None, "it was taken away");
    }
}
