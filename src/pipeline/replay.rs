//! Replays one record: from its bytes to the calls that it makes for the selected events. Nothing is sent here, and
//! no receipt settles.

use std::sync::Arc;

use bytes::Bytes;

use super::ordering;
use crate::decode::{DecodeError, Decoded, Decoder, Input};
use crate::id::{EventId, MessageId, RecordPosition};
use crate::matching::Index;
use crate::render::{Renderer, TooLarge};
use crate::settle::StoredCall;
use crate::time::now_ms;

/// The pure stages for one topic. Their buffers are reused from record to record.
pub struct ReplayStages {
    decoder: Decoder,
    index: Arc<Index>,
    renderer: Renderer,
    match_buffer: Vec<u32>,
}

/// The message that one match makes again, with the same ids as the first time.
#[derive(Debug)]
pub struct ReplayedMessage {
    pub event: EventId,
    pub message: MessageId,
    /// One call per URL, with its body.
    pub calls: Vec<(StoredCall, Bytes)>,
    /// The body for this URL is too large. The calls from this URL on are missing.
    pub too_large: Option<TooLarge>,
}

impl ReplayStages {
    pub fn new(decoder: Decoder, index: Arc<Index>, renderer: Renderer) -> Self {
        Self { decoder, index, renderer, match_buffer: Vec::new() }
    }

    /// The messages of one record for the events that `is_meant` selects. Empty for a record that fires nothing.
    ///
    /// # Errors
    /// When the record can't be decoded.
    pub fn replay(
        &mut self,
        input: &Input<'_>,
        is_meant: impl Fn(EventId) -> bool,
    ) -> Result<Vec<ReplayedMessage>, DecodeError> {
        let Decoded::Change(change) = self.decoder.decode(input)? else { return Ok(Vec::new()) };
        let Some(rules) = self.index.rules(&change.account, &change.table) else { return Ok(Vec::new()) };
        let place = RecordPosition { topic: input.topic.into(), partition: input.partition, offset: input.offset };
        let offered_ms = now_ms();
        let mut replayed = Vec::new();
        for rule in rules.matches(&change, &mut self.match_buffer).filter(|rule| is_meant(rule.event)) {
            let messages = self.renderer.render(rule, &change);
            let mut made =
                ReplayedMessage { event: rule.event, message: messages.id(), calls: Vec::new(), too_large: None };
            for message in messages {
                match message {
                    Ok(message) => {
                        let row = ordering::row(&message.target, &place, input.key);
                        let call = StoredCall::new(&message, place.clone(), row, (input.timestamp_ms, offered_ms));
                        made.calls.push((call, message.body));
                    }
                    Err(error) => made.too_large = Some(error),
                }
            }
            replayed.push(made);
        }
        Ok(replayed)
    }
}
