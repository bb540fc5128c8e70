//! Stage 4: renders a rule and a row change into messages.
//!
//! A body is written in one pass into a reused buffer, then copied once into the bytes that all calls of the message
//! share. Pure: the same rule and row change give the same messages, ids included.

mod attachment;
mod body;
mod identity;
mod preview;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

pub use self::attachment::{AttachmentUrl, BadAttachmentUrl};
use self::body::BodyWriter;
use self::identity::IdGenerator;
pub use self::identity::message_id;
pub use self::preview::{SamplePreviewError, preview};

use crate::decode::{EventDate, RowChange, Sequence};
use crate::id::{CallId, EventId, MessageId};
use crate::rules::{EventState, Rule, Target};

/// The message of one match to one URL. It borrows nothing from the record.
#[derive(Clone)]
pub struct Message {
    pub id: MessageId,
    pub call_id: CallId,
    pub event: EventId,
    pub target: Arc<Target>,
    /// Whether its event is still active.
    pub event_state: EventState,
    /// Index into the target's endpoints.
    pub endpoint: usize,
    pub event_date: EventDate,
    pub sequence: Sequence,
    /// The JSON body. Calls of one message share it, unless its template holds the call's id.
    pub body: Bytes,
}

/// A body over [`MAX_MESSAGE_BYTES`] is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message has at least {at_least} bytes, and the maximum is {MAX_MESSAGE_BYTES}")]
pub struct TooLarge {
    /// Its size, as far as it was counted.
    pub at_least: usize,
}

/// Max size of a message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;

/// Max capacity of the buffer that is kept between messages, in bytes: one huge message must not hold its memory for
/// ever.
const MAX_KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// Renders messages; reuses its buffers.
#[derive(Default)]
pub struct Renderer {
    buffer: String,
    id_generator: IdGenerator,
    attachment_url: Option<AttachmentUrl>,
}

impl Renderer {
    /// A renderer that writes the URLs of attachments by this pattern. Without a pattern they are null.
    pub fn new(attachment_url: Option<AttachmentUrl>) -> Self {
        Self { attachment_url, ..Self::default() }
    }

    /// The messages of one match, one for each of the rule's endpoints. Each is rendered on demand, so that at most
    /// one waits for room. They end with the first one that is too large.
    pub fn render<'r, 'c>(&'r mut self, rule: &'r Rule, change: &'r RowChange<'c>) -> Messages<'r, 'c> {
        let id = self.id_generator.message(&change.account, &change.table, &change.identity, rule.event);
        Messages { renderer: self, rule, change, id, endpoints: 0..rule.target.endpoints.len(), shared_body: None }
    }

    fn render_body(
        &mut self,
        rule: &Rule,
        change: &RowChange<'_>,
        id: MessageId,
        call: CallId,
    ) -> Result<Bytes, TooLarge> {
        self.buffer.clear();
        let attachment_url = self.attachment_url.as_ref();
        let mut writer =
            BodyWriter { out: &mut self.buffer, limit: MAX_MESSAGE_BYTES, rule, change, id, call, attachment_url };
        let body = writer.write_steps(rule.body.steps()).map(|()| Bytes::copy_from_slice(self.buffer.as_bytes()));
        if self.buffer.capacity() > MAX_KEPT_BUFFER_BYTES {
            self.buffer = String::new();
        }
        body
    }
}

/// The messages of one match: see [`Renderer::render`].
pub struct Messages<'r, 'c> {
    renderer: &'r mut Renderer,
    rule: &'r Rule,
    change: &'r RowChange<'c>,
    id: MessageId,
    /// Indexes of the remaining endpoints.
    endpoints: Range<usize>,
    shared_body: Option<Bytes>,
}

impl Messages<'_, '_> {
    /// The id that all of them have.
    pub fn id(&self) -> MessageId {
        self.id
    }

    fn render_body(&mut self, call: CallId) -> Result<Bytes, TooLarge> {
        match &self.shared_body {
            Some(body) if !self.rule.body.uses_call_id() => Ok(body.clone()),
            _ => self.renderer.render_body(self.rule, self.change, self.id, call),
        }
    }
}

impl Iterator for Messages<'_, '_> {
    type Item = Result<Message, TooLarge>;

    fn next(&mut self) -> Option<Self::Item> {
        let endpoint = self.endpoints.next()?;
        let (rule, change) = (self.rule, self.change);
        let call = self.renderer.id_generator.call(self.id, &rule.target.endpoints[endpoint].url);
        let body = match self.render_body(call) {
            Ok(body) => body,
            Err(error) => {
                self.endpoints = 0..0;
                return Some(Err(error));
            }
        };
        self.shared_body = Some(body.clone());
        Some(Ok(Message {
            id: self.id,
            call_id: call,
            event: rule.event,
            target: rule.target.clone(),
            event_state: rule.event_state.clone(),
            endpoint,
            event_date: change.event_date,
            sequence: change.sequence,
            body,
        }))
    }
}
