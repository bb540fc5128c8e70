//! A record to be written to a topic of Outhook, and the headers that such records share.

use std::fmt::Display;

use crate::kafka::producer::{Headers, NewRecord};

/// Memory of a record's headers and of the data kept with it.
const OVERHEAD_BYTES: usize = 2 * 1024;

/// One record. It can be written repeatedly.
#[derive(Clone)]
pub struct Outgoing {
    pub kind: OutgoingKind,
    /// Topic, partition and offset of the row change's record, for logs.
    pub source_position: String,
    pub record: NewRecord,
}

/// Type of a record, for metrics and logs.
#[derive(Debug, Clone, Copy)]
pub enum OutgoingKind {
    DeadLetter {
        kind: &'static str,
        class: &'static str,
    },
    Retry,
    OperatorEvent,
    /// The marker of a dead letter that was redriven.
    Redriven,
}

impl Outgoing {
    /// Bytes in memory until the record is written.
    pub fn memory_bytes(&self) -> usize {
        self.record.body_bytes() + OVERHEAD_BYTES
    }

    /// Whether the key or the value may be dropped. A call that is to be sent again needs both.
    pub fn can_drop_part(&self) -> bool {
        matches!(self.kind, OutgoingKind::DeadLetter { .. })
            && (self.record.value.is_some() || self.record.key.is_some())
    }

    /// Adds why the call is written.
    pub fn because(mut self, class: &str, text: &str) -> Self {
        self.record.headers = OutgoingHeaders(self.record.headers).cause(class, text).into();
        self
    }

    /// Drops the value, or the key if the value is dropped already, for a topic that refuses records of this size.
    /// Returns which, and its size in bytes. The position in the headers still leads to the original record.
    pub fn drop_part(&mut self) -> (&'static str, usize) {
        let NewRecord { key, value, headers } = &mut self.record;
        let (part, bytes) = if value.is_some() { ("value", value) } else { ("key", key) };
        let size = bytes.take().map_or(0, |bytes| bytes.len());
        *headers = OutgoingHeaders(headers.clone()).add(&format!("{part}-left-out"), size).into();
        (part, size)
    }
}

/// Prefix of each header's name.
pub const HEADER_PREFIX: &str = "outhook-";

/// Text headers of a record. Each name begins with [`HEADER_PREFIX`]. `dead_letters::letter` and `stored_call` read
/// them.
#[derive(Clone)]
pub struct OutgoingHeaders(Headers);

impl OutgoingHeaders {
    pub fn new(kind: &str) -> Self {
        Self::with_room(24, kind)
    }

    /// Headers of a record that has at most about four.
    pub fn with_few(kind: &str) -> Self {
        Self::with_room(4, kind)
    }

    fn with_room(headers: usize, kind: &str) -> Self {
        Self(Headers::with_capacity(headers)).add("kind", kind)
    }

    pub fn cause(self, class: &str, text: &str) -> Self {
        self.add("class", class).add("cause", text)
    }

    pub fn add_position(self, topic: &str, partition: i32, offset: i64) -> Self {
        self.add("topic", topic).add("partition", partition).add("offset", offset)
    }

    pub fn add(self, name: &str, value: impl Display) -> Self {
        Self(self.0.add(&format!("{HEADER_PREFIX}{name}"), &value.to_string()))
    }

    pub fn add_optional(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.add(name, value),
            None => self,
        }
    }
}

impl From<OutgoingHeaders> for Headers {
    fn from(headers: OutgoingHeaders) -> Self {
        headers.0
    }
}
