//! Dead letters: calls and records that are not tried again, with the cause, in a form that can be redriven.
//!
//! A dead letter is a Kafka record. Its headers identify it and hold the cause. Its value is the unsent body of a
//! call, or byte for byte the value of a record that no message could be made of. docs/dead-letters.md has the table
//! of headers.

use bytes::Bytes;
use jiff::Timestamp;

use super::outgoing::{Outgoing, OutgoingHeaders, OutgoingKind};
use super::stored_call::StoredCall;
use crate::decode::{DecodeError, Input};
use crate::deliver::{Call, FailureCause};
use crate::id::{MessageId, RecordPosition};
use crate::kafka::producer::NewRecord;
use crate::render::TooLarge;
use crate::rules::Rule;

/// The dead letter of a call that ended at `now`.
pub(super) fn of_call(call: &Call, cause: &FailureCause, now: Timestamp) -> Outgoing {
    for_stored_call(&StoredCall::of(call), call.message.body.clone(), cause, now)
}

/// The dead letter of a call that is not in a lane. All dead letters of a webhook have one key, so that they are
/// redriven from one partition.
pub(super) fn for_stored_call(call: &StoredCall, body: Bytes, cause: &FailureCause, now: Timestamp) -> Outgoing {
    let mut headers = call.headers("call").cause(cause.class, &cause.text).add("ended", now);
    if let Some(status) = cause.status {
        headers = headers.add("status", status);
    }
    Outgoing {
        kind: OutgoingKind::DeadLetter { kind: "call", class: cause.class },
        source_position: call.source_position.to_string(),
        record: NewRecord {
            key: Some(Bytes::copy_from_slice(call.webhook.as_str().as_bytes())),
            value: Some(body),
            headers: headers.into(),
        },
    }
}

/// The dead letter of a record that can't be decoded, with the record's key and value unchanged.
pub(super) fn for_undecodable_record(input: &Input<'_>, reason: &DecodeError, now: Timestamp) -> Outgoing {
    let headers = OutgoingHeaders::new("record").cause("undecodable", &reason.to_string());
    of_record(input, "undecodable", headers, now)
}

/// The dead letter of a record whose message is too large, with the record's key and value unchanged.
pub(super) fn for_too_large_message(
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

/// The dead letter of a retry topic's record that is not a valid call, with the record's key and value unchanged.
pub(super) fn for_invalid_call(input: &Input<'_>, reason: &str, now: Timestamp) -> Outgoing {
    of_record(input, "undecodable", OutgoingHeaders::new("record").cause("undecodable", reason), now)
}

/// The dead letter of the offsets from `place` to `last`, which Kafka's client can't read. Only their position is
/// known.
pub(super) fn for_unreadable_offsets(place: &RecordPosition, last: i64, cause: &str, now: Timestamp) -> Outgoing {
    let reason = match place.offset == last {
        true => format!("nothing can be read at this offset: {cause}"),
        false => format!("nothing can be read from this offset to {last}: {cause}"),
    };
    let headers = OutgoingHeaders::new("record")
        .cause("unreadable", &reason)
        .add_position(&place.topic, place.partition, place.offset)
        .add("last-offset", last)
        .add("ended", now);
    Outgoing {
        kind: OutgoingKind::DeadLetter { kind: "record", class: "unreadable" },
        source_position: place.to_string(),
        record: NewRecord { headers: headers.into(), ..NewRecord::default() },
    }
}

fn of_record(input: &Input<'_>, class: &'static str, headers: OutgoingHeaders, now: Timestamp) -> Outgoing {
    let headers = headers
        .add_position(input.topic, input.partition, input.offset)
        .add("timestamp", input.timestamp_ms)
        .add("ended", now);
    Outgoing {
        kind: OutgoingKind::DeadLetter { kind: "record", class },
        source_position: format!("topic {} partition {} offset {}", input.topic, input.partition, input.offset),
        record: NewRecord {
            key: input.key.map(Bytes::copy_from_slice),
            value: input.value.map(Bytes::copy_from_slice),
            headers: headers.into(),
        },
    }
}
