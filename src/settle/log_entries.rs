//! Message log entries of calls that end outside a lane.

use jiff::Timestamp;

use super::stored_call::StoredCall;
use crate::decode::Input;
use crate::deliver::FailureCause;
use crate::id::{MessageId, RecordPosition};
use crate::message_log::{CallStatus, LogEntry};
use crate::rules::Rule;

/// The entry of a call that ended with this status outside a lane.
pub(super) fn ended_call_entry(
    call: &StoredCall,
    status: CallStatus,
    cause: Option<&FailureCause>,
    now: Timestamp,
) -> LogEntry {
    LogEntry {
        at: now,
        account: call.account.clone(),
        webhook: call.webhook,
        event: call.event,
        message: call.message,
        call: Some(call.call),
        version: None,
        url: Some(call.url.clone()),
        status,
        next: None,
        attempts: call.attempts,
        class: cause.map(|cause| cause.class.into()),
        cause: cause.map(|cause| cause.text.as_str().into()),
        attempt: None,
        source: call.source_position.clone(),
    }
}

/// The entry of a message that is too large to be sent to any URL of its webhook.
pub(super) fn too_large(input: &Input<'_>, rule: &Rule, message: MessageId, reason: &str, now: Timestamp) -> LogEntry {
    LogEntry {
        at: now,
        account: rule.target.account.clone(),
        webhook: rule.target.webhook,
        event: rule.event,
        message,
        call: None,
        version: Some(rule.target.version),
        url: None,
        status: CallStatus::Exhausted,
        next: None,
        attempts: 0,
        class: Some("too_large".into()),
        cause: Some(reason.into()),
        attempt: None,
        source: RecordPosition { topic: input.topic.into(), partition: input.partition, offset: input.offset },
    }
}
