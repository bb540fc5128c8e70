//! Why an offset can't be read: the code and the text of an error of Kafka's client.

use std::cell::RefCell;
use std::fmt;

use crate::kafka::{ErrorCode, KafkaError};

thread_local! {
    /// The client's text of the last error that was reported in this thread.
    static REASON: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the client's text of an error. rdkafka returns only the error's code, directly after this call and in the
/// same thread.
pub(super) fn store_last_reason(reason: &str) {
    REASON.with_borrow_mut(|last_reason| reason.clone_into(last_reason));
}

/// Why an offset can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadError {
    pub code: ErrorCode,
    /// The client's text. It names an offset: that of the batch's first record, or the requested one.
    pub text: String,
}

/// The scope of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorScope {
    /// A whole batch, as the client has fetched it. Each of its offsets has the same error with the same text.
    Batch,
    /// The data that a broker has at this offset.
    Offset,
    /// Possibly the broker or the network.
    Unknown,
}

impl ReadError {
    /// The cause of an error that was just polled, with the text kept by [`store_last_reason`]. None if the error has
    /// no code: then it is not about an offset.
    pub(super) fn of(error: &KafkaError) -> Option<Self> {
        let code = error.rdkafka_error_code()?;
        let text = REASON.take();
        Some(Self { code, text: if text.is_empty() { code.to_string() } else { text } })
    }

    pub(super) fn scope(&self) -> ErrorScope {
        use ErrorCode as Code;
        match self.code {
            Code::BadCompression | Code::BadMessage | Code::NotImplemented => ErrorScope::Batch,
            Code::InvalidMessage
            | Code::InvalidRecord
            | Code::UnsupportedCompressionType
            | Code::MessageSizeTooLarge => ErrorScope::Offset,
            _ => ErrorScope::Unknown,
        }
    }

    /// The offset that the text names.
    pub(super) fn offset(&self) -> Option<i64> {
        let mut words = self.text.split(|sign: char| sign.is_whitespace() || sign == ':' || sign == ',');
        let mut before = "";
        words.find_map(|word| {
            let named = matches!(before, "at" | "offset").then(|| word.parse().ok()).flatten();
            before = word;
            named
        })
    }

    fn fix_hint(&self) -> &'static str {
        match self.code {
            ErrorCode::BadCompression => {
                "the batch is corrupt, or larger than receive.message.max.bytes when decompressed: in that case raise \
                 the setting in [kafka.properties] and replay these offsets"
            }
            ErrorCode::MessageSizeTooLarge => {
                "raise receive.message.max.bytes in [kafka.properties] and replay these offsets"
            }
            _ => "the stored data is corrupt: have its source write it again",
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.fix_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_is_parsed_from_every_client_error_text() {
        let offset = |text: &str| ReadError { code: ErrorCode::Unknown, text: text.to_owned() }.offset();
        let words = [
            ("Decompression (codec 0x4) of message at 42 of 3012 bytes failed: Local: Invalid compressed data", 42),
            ("MessageSet at offset 7 (68 bytes) failed CRC32C check (original 0x0 != calculated 0x1)", 7),
            ("Unsupported Message(Set) MagicByte 9 at offset 8", 8),
            ("Message at offset 9 might be too large to fetch, try increasing receive.message.max.bytes", 9),
            ("Fetch from broker 1 failed at offset 10 (leader epoch 0): Broker: Unknown broker error", 10),
        ];
        for (text, expected) in words {
            assert_eq!(offset(text), Some(expected), "{text}");
        }
        assert_eq!(offset("Broker: Unknown broker error"), None);
    }
}
