//! A record to be written to a topic of Outhook, and the headers that such records share.

use std::fmt::Display;

use bytes::Bytes;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};

/// Memory of a record's headers and of the data kept with it.
const OVERHEAD_BYTES: usize = 2 * 1024;

/// One record. It can be written repeatedly.
#[derive(Clone)]
pub struct Outgoing {
    pub kind: OutgoingKind,
    /// Topic, partition and offset of the row change's record, for logs.
    pub place: String,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: OutgoingHeaders,
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
    pub fn size(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.key) + bytes(&self.value) + OVERHEAD_BYTES
    }

    /// Bytes as a record, without framing.
    pub fn bytes(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.key) + bytes(&self.value) + self.headers.bytes()
    }

    /// Whether the key or the value may be dropped. A call that is to be sent again needs both.
    pub fn has_spare_bytes(&self) -> bool {
        matches!(self.kind, OutgoingKind::DeadLetter { .. }) && (self.value.is_some() || self.key.is_some())
    }

    /// Drops the value, or the key if the value is dropped already, for a topic that refuses records of this size.
    /// Returns which, and its size in bytes. The position in the headers still leads to the original record.
    pub fn leave_out(&mut self) -> (&'static str, usize) {
        let (part, bytes) = if self.value.is_some() { ("value", &mut self.value) } else { ("key", &mut self.key) };
        let size = bytes.take().map_or(0, |bytes| bytes.len());
        self.headers = self.headers.clone().add(&format!("{part}-left-out"), size);
        (part, size)
    }
}

/// Prefix of each header's name.
pub const PREFIX: &str = "outhook-";

/// Text headers of a record. Each name begins with [`PREFIX`]. `dead_letters::letter` and `stored_call` read them.
#[derive(Clone)]
pub struct OutgoingHeaders(OwnedHeaders);

impl OutgoingHeaders {
    pub fn new(kind: &str) -> Self {
        Self::with_room(24, kind)
    }

    /// Headers of a record that has at most about four.
    pub fn few(kind: &str) -> Self {
        Self::with_room(4, kind)
    }

    fn with_room(headers: usize, kind: &str) -> Self {
        Self(OwnedHeaders::new_with_capacity(headers)).add("kind", kind)
    }

    pub fn cause(self, class: &str, text: &str) -> Self {
        self.add("class", class).add("cause", text)
    }

    pub fn place(self, topic: &str, partition: i32, offset: i64) -> Self {
        self.add("topic", topic).add("partition", partition).add("offset", offset)
    }

    pub fn add(self, name: &str, value: impl Display) -> Self {
        let (name, value) = (format!("{PREFIX}{name}"), value.to_string());
        Self(self.0.insert(Header { key: &name, value: Some(&value) }))
    }

    pub fn add_if_there(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.add(name, value),
            None => self,
        }
    }

    /// The value of the first header with this full name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|header| header.key == name)?.value
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum()
    }

    pub fn into_inner(self) -> OwnedHeaders {
        self.0
    }
}

impl From<OwnedHeaders> for OutgoingHeaders {
    fn from(headers: OwnedHeaders) -> Self {
        Self(headers)
    }
}
