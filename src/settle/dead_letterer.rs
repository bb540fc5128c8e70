//! Dead-letters calls that are not in a lane: each gets a dead letter, and an entry in the message log.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use metrics::counter;
use parking_lot::Mutex;
use tracing::error;

use super::outgoing::Outgoing;
use super::producer::LOG_INTERVAL;
use super::stored_call::StoredCall;
use super::{dead_letter, log_entries};
use crate::deliver::FailureCause;
use crate::message_log::{self, CallStatus};

/// Class of a call that a topic refuses for its size.
const TOO_LARGE: &str = "too_large";

pub(super) struct DeadLetterer {
    /// The dead-letter topic.
    pub topic: Arc<str>,
    message_log: Arc<message_log::LogWriter>,
    last_logged: Mutex<Option<Instant>>,
}

impl DeadLetterer {
    pub fn new(letters: &str, message_log: Arc<message_log::LogWriter>) -> Arc<Self> {
        Arc::new(Self { topic: letters.into(), message_log, last_logged: Mutex::default() })
    }

    /// Counts and logs the call as exhausted, and returns its dead letter.
    pub fn dead_letter(&self, call: &StoredCall, body: Bytes, cause: &FailureCause) -> Outgoing {
        let now = Timestamp::now();
        counter!("outhook_calls_total", "outcome" => "exhausted").increment(1);
        if self.message_log.wanted_response_bytes(CallStatus::Exhausted, call.attempts).is_some() {
            self.message_log.write(&log_entries::ended_call_entry(call, CallStatus::Exhausted, Some(cause), now));
        }
        dead_letter::for_stored_call(call, body, cause, now)
    }

    /// The dead letter of a call whose record `topic` refuses for its size. Waiting does not make the record smaller,
    /// and the records behind it must not wait forever.
    pub fn too_large(&self, refused: &Outgoing, topic: &str) -> Outgoing {
        let record = &refused.record;
        let call =
            StoredCall::read(|name| record.headers.get(name)).expect("this program has just written its headers");
        let mut text = format!(
            "topic {topic} refuses a record of its size, {} bytes: raise the topic's max.message.bytes, then redrive",
            record.bytes()
        );
        if let Some(last) = record.headers.get("outhook-cause") {
            text = format!("{text}; its last attempt: {}", String::from_utf8_lossy(last));
        }
        self.log_too_large(topic, refused);
        self.dead_letter(
            &call,
            record.value.clone().unwrap_or_default(),
            &FailureCause { class: TOO_LARGE, status: None, text },
        )
    }

    fn log_too_large(&self, topic: &str, refused: &Outgoing) {
        let mut last = self.last_logged.lock();
        if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            *last = Some(Instant::now());
            error!(
                topic,
                "calls are dead-lettered, because the topic refuses records of their size: raise its \
                 max.message.bytes, then redrive them (one of them: {}, with {} bytes)",
                refused.source_position,
                refused.record.bytes()
            );
        }
    }
}
