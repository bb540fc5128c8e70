//! Dead letters: what will not be tried again, with its cause, in a form that can be redriven.
//!
//! A dead letter is a Kafka record. Its headers say what it is and why; its value is the body that was to be
//! sent, or the record that could not be turned into messages, byte for byte. docs/dead-letters.md has the table.

use bytes::Bytes;
use jiff::Timestamp;

use super::outgoing::{Outgoing, OutgoingHeaders, OutgoingKind};
use super::stored_call::StoredCall;
use crate::decode::{DecodeError, Input};
use crate::deliver::{Call, Cause};
use crate::id::{MessageId, Place};
use crate::render::TooLarge;
use crate::rules::Rule;

/// A call given up at `now`.
pub(super) fn of_call(call: &Call, cause: &Cause, now: Timestamp) -> Outgoing {
    of_kept(&StoredCall::of(call), call.message.body.clone(), cause, now)
}

/// The same of one that no lane has. All of a webhook's have one key, so that they are redriven from one partition.
pub(super) fn of_kept(call: &StoredCall, body: Bytes, cause: &Cause, now: Timestamp) -> Outgoing {
    let mut headers = call.headers("call").cause(cause.class, &cause.text).add("ended", now);
    if let Some(status) = cause.status {
        headers = headers.add("status", status);
    }
    Outgoing {
        kind: OutgoingKind::DeadLetter { kind: "call", class: cause.class },
        place: call.place.to_string(),
        key: Some(Bytes::copy_from_slice(call.webhook.as_str().as_bytes())),
        value: Some(body),
        headers,
    }
}

/// A record that can't be decoded; its key and value as they came.
pub(super) fn undecodable(input: &Input<'_>, reason: &DecodeError, now: Timestamp) -> Outgoing {
    let headers = OutgoingHeaders::new("record").cause("undecodable", &reason.to_string());
    of_record(input, "undecodable", headers, now)
}

/// A record of which a message is too large; its key and value as they came.
pub(super) fn too_large(
    input: &Input<'_>,
    rule: &Rule,
    message: MessageId,
    reason: &TooLarge,
    now: Timestamp,
) -> Outgoing {
    let headers = OutgoingHeaders::new("record")
        .cause("too_large", &reason.to_string())
        .add("account", &rule.target.account)
        .add("webhook", rule.target.webhook)
        .add("event", rule.event)
        .add("message", message);
    of_record(input, "too_large", headers, now)
}

/// A record of a retry topic that is no call that waits; its key and value as they came.
pub(super) fn unreadable(input: &Input<'_>, reason: &str, now: Timestamp) -> Outgoing {
    of_record(input, "undecodable", OutgoingHeaders::new("record").cause("undecodable", reason), now)
}

/// Records from a place on to an offset that Kafka's client can't read: nothing of them but where they stand.
pub(super) fn not_read(place: &Place, last: i64, cause: &str, now: Timestamp) -> Outgoing {
    let told = match place.offset == last {
        true => format!("nothing can be read at this offset: {cause}"),
        false => format!("nothing can be read from this offset to {last}: {cause}"),
    };
    let headers = OutgoingHeaders::new("record")
        .cause("unreadable", &told)
        .place(&place.topic, place.partition, place.offset)
        .add("last-offset", last)
        .add("ended", now);
    Outgoing {
        kind: OutgoingKind::DeadLetter { kind: "record", class: "unreadable" },
        place: place.to_string(),
        key: None,
        value: None,
        headers,
    }
}

fn of_record(input: &Input<'_>, class: &'static str, headers: OutgoingHeaders, now: Timestamp) -> Outgoing {
    let headers = headers
        .place(input.topic, input.partition, input.offset)
        .add("timestamp", input.timestamp_ms)
        .add("ended", now);
    Outgoing {
        kind: OutgoingKind::DeadLetter { kind: "record", class },
        place: format!("topic {} partition {} offset {}", input.topic, input.partition, input.offset),
        key: input.key.map(Bytes::copy_from_slice),
        value: input.value.map(Bytes::copy_from_slice),
        headers,
    }
}
