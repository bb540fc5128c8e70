//! A record to write.

use bytes::Bytes;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

/// One record. It can be written repeatedly.
#[derive(Clone, Default)]
pub struct NewRecord {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// The headers of a record to write, in the client's own form.
#[derive(Clone, Default)]
pub struct Headers(pub(super) OwnedHeaders);

impl NewRecord {
    /// Bytes as a record, without framing.
    pub fn bytes(&self) -> usize {
        self.body_bytes() + self.headers.bytes()
    }

    /// Bytes of key and value.
    pub fn body_bytes(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.key) + bytes(&self.value)
    }

    /// A copy of a record that the client reports.
    pub(super) fn copy(record: &BorrowedMessage<'_>) -> Self {
        let copied = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
        let headers = record.headers().map(BorrowedHeaders::detach).unwrap_or_default();
        Self { key: copied(record.key()), value: copied(record.payload()), headers: Headers(headers) }
    }
}

impl Headers {
    pub fn with_capacity(headers: usize) -> Self {
        Self(OwnedHeaders::new_with_capacity(headers))
    }

    pub fn add(self, name: &str, value: &str) -> Self {
        Self(self.0.insert(Header { key: name, value: Some(value) }))
    }

    /// The value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|header| header.key == name)?.value
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum()
    }
}
