//! An unchanged record of a table, kept for previews.

use std::sync::Arc;

use crate::decode::Input;

/// Max bytes of a record that is kept.
const MAX_BYTES: usize = 64 * 1024;

/// Record of a table's newest row change: key, value and headers byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Kafka's timestamp, milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Sample {
    /// None for a record that is too large to keep: a part of it would not be a row change.
    pub(super) fn of(input: &Input<'_>, topic: &Arc<str>) -> Option<Self> {
        let value = input.value?;
        let mut bytes = input.key.unwrap_or_default().len() + value.len();
        input.headers.for_each(&mut |name, value| bytes += name.len() + value.len());
        if bytes > MAX_BYTES {
            return None;
        }
        let mut headers = Vec::new();
        input.headers.for_each(&mut |name, value| headers.push((name.to_owned(), value.to_vec())));
        Some(Self {
            topic: topic.clone(),
            partition: input.partition,
            offset: input.offset,
            timestamp_ms: input.timestamp_ms,
            key: input.key.map(<[u8]>::to_vec),
            value: value.to_vec(),
            headers,
        })
    }

    /// The record as input of a decoder.
    pub fn input(&self) -> Input<'_> {
        Input {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: Some(&self.value),
            headers: &self.headers,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.key.as_ref().map_or(0, Vec::len) + self.value.len() + headers.sum::<usize>()
    }
}
