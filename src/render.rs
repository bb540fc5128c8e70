//! Stage 4: a rule and a row change become the message that is sent.

mod default_payload;
mod program;

use std::sync::Arc;

use bytes::Bytes;

use crate::decode::{EventDate, RowChange, Sequence};
use crate::id::{CallId, EventId, MessageId};
use crate::matching::{Rule, Target};

/// What one match sends to one URL, ready to go: nothing of the record is borrowed.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: MessageId,
    pub call: CallId,
    pub event: EventId,
    pub target: Arc<Target>,
    /// Index into the target's endpoints.
    pub endpoint: usize,
    pub event_date: EventDate,
    pub sequence: Sequence,
    /// The JSON body. Calls of one message share it, unless its template holds the call's id.
    pub body: Bytes,
}

/// A body over the limit is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message has {size} bytes, more than the {limit} that may be sent")]
pub struct TooLarge {
    pub size: usize,
    pub limit: usize,
}

/// What a message may be at most, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;

/// Renders messages; keeps its buffers from one to the next.
#[derive(Default)]
pub struct Renderer {
    buffer: Vec<u8>,
}

impl Renderer {
    /// Renders one match: a message for each of the rule's endpoints, pushed to `messages`.
    ///
    /// # Errors
    /// The body is over [`MAX_MESSAGE_BYTES`]; nothing is pushed.
    pub fn render(
        &mut self,
        _rule: &Rule,
        _change: &RowChange<'_>,
        _messages: &mut Vec<Message>,
    ) -> Result<(), TooLarge> {
        todo!()
    }
}
