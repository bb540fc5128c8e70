//! Why definitions could not be written.

use super::StoreError;
use crate::kafka::{KafkaError, errors};

/// Max tries of a write.
pub(super) const MAX_TRIES: u32 = 8;

/// Why definitions could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteFailure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("definitions could not be written to topic {topic} while {step}: {source}{}", how_to_fix(.source, .topic))]
    Kafka { topic: String, step: &'static str, source: Box<KafkaError> },
    #[error(
        "definitions could not be written to topic {topic}: {MAX_TRIES} tries were interrupted, the last one while \
         {step}: {source}; if other writers write definitions all the time, try again"
    )]
    Interrupted { topic: String, step: &'static str, source: Box<KafkaError> },
}

/// Why a try did not write its records.
pub(super) enum TryError {
    /// Another writer took over the id, or a broker was lost. Another try may succeed.
    Retry {
        step: &'static str,
        source: Box<KafkaError>,
    },
    Failed(WriteFailure),
}

/// How to fix an error, as the end of its text.
fn how_to_fix(error: &KafkaError, topic: &str) -> String {
    if errors::is_write_denied(error) {
        format!(
            "; allow this client Write on the topic and on the transactional id {topic}: `outhook check` has the commands"
        )
    } else if errors::is_batch_too_large(error) {
        "; the definitions of this write are larger than the topic's segments: raise its segment.bytes, or write fewer at \
         a time"
            .to_owned()
    } else if errors::is_too_large(error) {
        "; a definition is larger than the topic's max.message.bytes allows: raise it, or make the definition smaller"
            .to_owned()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ErrorCode;

    #[test]
    fn errors_of_size_name_the_setting_of_the_topic() {
        for (code, setting) in
            [(ErrorCode::MessageSizeTooLarge, "max.message.bytes"), (ErrorCode::MessageBatchTooLarge, "segment.bytes")]
        {
            let fix = how_to_fix(&KafkaError::MessageProduction(code), "outhook.definitions");
            assert!(fix.contains(setting), "{code}: {fix}");
        }
    }
}
