//! Dead letters: what will not be tried again, with its cause, in a form that can be redriven.
//!
//! A dead letter is a Kafka record. Its headers say what it is and why; its value is the body that was to be
//! sent, or the record that could not be turned into messages, byte for byte. docs/delivery.md has the table.

use std::fmt::Display;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rdkafka::message::{Header, OwnedHeaders};

use crate::decode::{DecodeError, Input};
use crate::deliver::{Call, Cause};
use crate::id::MessageId;
use crate::matching::Rule;
use crate::render::TooLarge;

/// What the name of each header begins with.
pub(super) const PREFIX: &str = "outhook-";

/// What a dead letter's headers take in memory, and the little that is kept beside it.
const OVERHEAD_BYTES: usize = 2 * 1024;

/// One dead letter, ready to be written as often as it takes.
pub(super) struct DeadLetter {
    pub kind: &'static str,
    pub class: &'static str,
    /// Where its record stands, for logs.
    pub place: String,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: OwnedHeaders,
}

impl DeadLetter {
    /// A call given up at `now`. All of a webhook's have one key, so that they are redriven from one partition.
    pub fn of_call(call: &Call, cause: &Cause, now: Timestamp) -> Self {
        let (message, place) = (&call.message, &call.place);
        let target = &message.target;
        let in_hand = SignedDuration::try_from(call.offered.elapsed()).unwrap_or_default();
        let mut headers = Headers::new("call", cause.class, &cause.text)
            .place(&place.topic, place.partition, place.offset)
            .add("account", target.account.as_str())
            .add("webhook", target.webhook)
            .add("event", message.event)
            .add("message", message.id)
            .add("call", message.call)
            .add("url", &target.endpoints[message.endpoint].url)
            .add("event-date", message.event_date)
            .add("sequence", message.sequence)
            .add("attempts", call.attempts)
            .add("offered", now.saturating_sub(in_hand).expect("a difference of times has no calendar units"))
            .add("ended", now);
        if let Some(status) = cause.status {
            headers = headers.add("status", status);
        }
        Self {
            kind: "call",
            class: cause.class,
            place: place.to_string(),
            key: Some(Bytes::copy_from_slice(target.webhook.as_str().as_bytes())),
            value: Some(message.body.clone()),
            headers: headers.0,
        }
    }

    /// A record that can't be decoded; its key and value as they came.
    pub fn undecodable(input: &Input<'_>, reason: &DecodeError, now: Timestamp) -> Self {
        Self::of_record(input, "undecodable", Headers::new("record", "undecodable", &reason.to_string()), now)
    }

    /// A record of which a message is too large; its key and value as they came.
    pub fn too_large(input: &Input<'_>, rule: &Rule, message: MessageId, reason: &TooLarge, now: Timestamp) -> Self {
        let headers = Headers::new("record", "too_large", &reason.to_string())
            .add("account", &rule.target.account)
            .add("webhook", rule.target.webhook)
            .add("event", rule.event)
            .add("message", message);
        Self::of_record(input, "too_large", headers, now)
    }

    fn of_record(input: &Input<'_>, class: &'static str, headers: Headers, now: Timestamp) -> Self {
        let headers = headers
            .place(input.topic, input.partition, input.offset)
            .add("timestamp", input.timestamp_ms)
            .add("ended", now);
        Self {
            kind: "record",
            class,
            place: format!("topic {} partition {} offset {}", input.topic, input.partition, input.offset),
            key: input.key.map(Bytes::copy_from_slice),
            value: input.value.map(Bytes::copy_from_slice),
            headers: headers.0,
        }
    }

    /// What it takes in memory until it is written.
    pub fn size(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.key) + bytes(&self.value) + OVERHEAD_BYTES
    }

    /// Whether there is anything to leave out.
    pub fn has_bytes(&self) -> bool {
        self.value.is_some() || self.key.is_some()
    }

    /// Leaves out its value, or its key when the value is out already, for a topic that does not take records
    /// of its size; says which, and how many bytes it had. The place in its headers still leads to the record
    /// it came from.
    pub fn leave_out(&mut self) -> (&'static str, usize) {
        let (part, bytes) = if self.value.is_some() { ("value", &mut self.value) } else { ("key", &mut self.key) };
        let size = bytes.take().map_or(0, |bytes| bytes.len());
        let headers = std::mem::replace(&mut self.headers, OwnedHeaders::new());
        self.headers = Headers(headers).add(&format!("{part}-left-out"), size).0;
        (part, size)
    }
}

/// A dead letter's headers: text, and each name with [`PREFIX`] before it. `letter` reads them.
struct Headers(OwnedHeaders);

impl Headers {
    fn new(kind: &str, class: &str, cause: &str) -> Self {
        Self(OwnedHeaders::new_with_capacity(20)).add("kind", kind).add("class", class).add("cause", cause)
    }

    fn place(self, topic: &str, partition: i32, offset: i64) -> Self {
        self.add("topic", topic).add("partition", partition).add("offset", offset)
    }

    fn add(self, name: &str, value: impl Display) -> Self {
        let (name, value) = (format!("{PREFIX}{name}"), value.to_string());
        Self(self.0.insert(Header { key: &name, value: Some(&value) }))
    }
}
