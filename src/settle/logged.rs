//! Entries of the message log for calls that never came to a lane.

use jiff::Timestamp;

use super::kept_call::KeptCall;
use crate::decode::Input;
use crate::deliver::Cause;
use crate::id::{MessageId, Place};
use crate::matching::Rule;
use crate::message_log::{Entry, Status};

/// A call that ended so while no lane had it.
pub(super) fn ended(call: &KeptCall, status: Status, cause: Option<&Cause>, now: Timestamp) -> Entry {
    Entry {
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
        source: call.place.clone(),
    }
}

/// A message that may not be sent, to none of its webhook's URLs.
pub(super) fn too_large(input: &Input<'_>, rule: &Rule, message: MessageId, reason: &str, now: Timestamp) -> Entry {
    Entry {
        at: now,
        account: rule.target.account.clone(),
        webhook: rule.target.webhook,
        event: rule.event,
        message,
        call: None,
        version: Some(rule.target.version),
        url: None,
        status: Status::Exhausted,
        next: None,
        attempts: 0,
        class: Some("too_large".into()),
        cause: Some(reason.into()),
        attempt: None,
        source: Place { topic: input.topic.into(), partition: input.partition, offset: input.offset },
    }
}
