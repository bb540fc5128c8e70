//! Stage 4: a rule and a row change become the message that is sent.
//!
//! A body is written in one pass into a buffer that is kept, then copied once into the bytes that all calls
//! of the message share. Pure: the same rule and row change give the same messages, ids included.

mod attachment;
mod identity;
mod program;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

pub use self::attachment::{AttachmentUrl, BadAttachmentUrl};
use self::identity::Namer;
pub use self::identity::message_id;
use self::program::Program;
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

/// What of the buffer is kept from one message to the next, in bytes: one huge message must not hold its
/// room for ever.
const KEPT_BYTES: usize = 256 * 1024;

/// Renders messages; keeps its buffers from one to the next.
#[derive(Default)]
pub struct Renderer {
    buffer: String,
    namer: Namer,
    attachment_url: Option<AttachmentUrl>,
}

impl Renderer {
    /// A renderer that writes the URLs of attachments by this pattern; without one they are null.
    pub fn new(attachment_url: Option<AttachmentUrl>) -> Self {
        Self { attachment_url, ..Self::default() }
    }

    /// Renders one match: a message for each of the rule's endpoints, pushed to `messages`.
    ///
    /// # Errors
    /// The body is over [`MAX_MESSAGE_BYTES`]; nothing is pushed.
    pub fn render(&mut self, rule: &Rule, change: &RowChange<'_>, messages: &mut Vec<Message>) -> Result<(), TooLarge> {
        let first = messages.len();
        let id = self.namer.message(&change.account, &change.table, &change.identity, rule.event);
        let mut shared: Option<Bytes> = None;
        for (place, endpoint) in rule.target.endpoints.iter().enumerate() {
            let call = self.namer.call(id, &endpoint.url);
            let body = match &shared {
                Some(body) if !rule.body.uses_call_id() => body.clone(),
                _ => self.body(rule, change, id, call).inspect_err(|_| messages.truncate(first))?,
            };
            shared = Some(body.clone());
            messages.push(Message {
                id,
                call,
                event: rule.event,
                target: rule.target.clone(),
                endpoint: place,
                event_date: change.event_date,
                sequence: change.sequence,
                body,
            });
        }
        Ok(())
    }

    fn body(&mut self, rule: &Rule, change: &RowChange<'_>, id: MessageId, call: CallId) -> Result<Bytes, TooLarge> {
        self.buffer.clear();
        let attachment_url = self.attachment_url.as_ref();
        let mut program = Program { out: &mut self.buffer, dropped: 0, change, id, call, attachment_url };
        program.run(rule.body.steps());
        let size = program.size();
        let fits = size <= MAX_MESSAGE_BYTES;
        let body = fits.then(|| Bytes::copy_from_slice(self.buffer.as_bytes()));
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = String::new();
        }
        body.ok_or(TooLarge { size, limit: MAX_MESSAGE_BYTES })
    }
}
