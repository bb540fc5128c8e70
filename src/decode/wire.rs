//! The bytes of a record's key or value, before they are parsed as JSON.

use crate::json;

/// Why bytes hold no JSON text, and how to fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidText {
    #[error("it is empty: write a JSON object, or for a tombstone no value at all (null)")]
    Empty,
    /// <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>
    #[error(
        "it is in a Schema Registry's wire format (byte 0, then schema id {0}), which is not supported: write plain \
         JSON, in Kafka Connect with org.apache.kafka.connect.json.JsonConverter"
    )]
    SchemaRegistry(u32),
    #[error("it is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
}

/// The text of a key or value, without its byte order mark.
pub(super) fn text(bytes: &[u8]) -> Result<&str, InvalidText> {
    if let [0, a, b, c, d, ..] = *bytes {
        return Err(InvalidText::SchemaRegistry(u32::from_be_bytes([a, b, c, d])));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| InvalidText::NotUtf8(error.valid_up_to()))?;
    let text = json::without_byte_order_mark(text);
    if text.trim_ascii().is_empty() { Err(InvalidText::Empty) } else { Ok(text) }
}
