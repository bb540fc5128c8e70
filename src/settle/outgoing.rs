//! A record on its way to one of the topics that Outhook writes calls to, and the headers that those have in common.

use std::fmt::Display;

use bytes::Bytes;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};

/// What a record's headers take in memory, and the little that is kept beside it.
const OVERHEAD_BYTES: usize = 2 * 1024;

/// One record, ready to be written as often as it takes.
#[derive(Clone)]
pub struct Outgoing {
    pub kind: OutgoingKind,
    /// Where the row change's record stands, for logs.
    pub place: String,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: OutgoingHeaders,
}

/// What a record is, for metrics and logs.
#[derive(Debug, Clone, Copy)]
pub enum OutgoingKind {
    DeadLetter {
        kind: &'static str,
        class: &'static str,
    },
    Retry,
    OperatorEvent,
    /// The marker of a dead letter that was sent out again.
    Redriven,
}

impl Outgoing {
    /// What it takes in memory until it is written.
    pub fn size(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.key) + bytes(&self.value) + OVERHEAD_BYTES
    }

    /// What it takes as a record, but for its framing.
    pub fn bytes(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.key) + bytes(&self.value) + self.headers.bytes()
    }

    /// Whether there is anything that may be left out. A call that is to go out again needs all it has.
    pub fn has_spare_bytes(&self) -> bool {
        matches!(self.kind, OutgoingKind::DeadLetter { .. }) && (self.value.is_some() || self.key.is_some())
    }

    /// Leaves out its value, or its key when the value is out already, for a topic that does not take records
    /// of its size; says which, and how many bytes it had. The place in its headers still leads to the record
    /// it came from.
    pub fn leave_out(&mut self) -> (&'static str, usize) {
        let (part, bytes) = if self.value.is_some() { ("value", &mut self.value) } else { ("key", &mut self.key) };
        let size = bytes.take().map_or(0, |bytes| bytes.len());
        self.headers = self.headers.clone().add(&format!("{part}-left-out"), size);
        (part, size)
    }
}

/// What the name of each header begins with.
pub const PREFIX: &str = "outhook-";

/// Headers of a record: text, and each name with [`PREFIX`] before it. `letter` and `kept_call` read them.
#[derive(Clone)]
pub struct OutgoingHeaders(OwnedHeaders);

impl OutgoingHeaders {
    pub fn new(kind: &str) -> Self {
        Self::with_room(24, kind)
    }

    /// The same for a record that has no more than about four.
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

    /// The value of the first header of this whole name.
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
