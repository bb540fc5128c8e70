//! Resends a logged message: reads its record again, and makes the same message from it.

use std::collections::HashMap;
use std::time::Duration;

use metrics::counter;

use super::replay::{ReplayFactory, input};
use super::{RetryTopicProducer, UnacknowledgedCall};
use crate::decode::DecodeError;
use crate::id::{EventId, MessageId, RecordPosition};
use crate::kafka::topic_reader::{Error, Record, TopicReader};
use crate::pipeline::ReplayedMessage;
use crate::render::TooLarge;
use crate::settle::RetriesConfig;

/// Time limit of reading the record.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Resends messages, one by one.
pub struct Resender {
    topic_reader: TopicReader,
    replay_factory: ReplayFactory,
    retries: RetriesConfig,
    client: HashMap<String, String>,
}

/// Why a message was not resent.
#[derive(Debug, thiserror::Error)]
pub enum ResendError {
    #[error(transparent)]
    Read(#[from] Error),
    #[error("its row change was read from topic {topic}, which no source reads any more")]
    NoSource { topic: String },
    #[error("its row change was deleted by its topic's retention: if the message became a dead letter, redrive that")]
    RecordDeleted,
    #[error("the record at its row change's offset can't be decoded: {0}")]
    Undecodable(#[from] DecodeError),
    #[error("its event does not fire for its row change any more: the event's definition has changed since")]
    NoMatch,
    #[error(
        "the record at its row change's offset is a different row change now: the topic was recreated, or its source's \
         settings have changed"
    )]
    DifferentMessage,
    #[error("with its event's current definition, {0}")]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    NotAcknowledged(#[from] Box<UnacknowledgedCall>),
}

impl Resender {
    /// `client` has the connection settings of the cluster (brokers, security).
    pub fn new(replay_factory: ReplayFactory, retries: &RetriesConfig, client: &HashMap<String, String>) -> Self {
        let topic_reader = TopicReader::new("", client.clone().into_iter().collect());
        Self { topic_reader, replay_factory, retries: retries.clone(), client: client.clone() }
    }

    /// Sends the message that this record and event make to each current URL of its webhook, and returns the number of
    /// URLs. The event should be active: calls of an inactive event are cancelled. `definitions` is the offset of the
    /// definitions topic up to which this instance has read.
    ///
    /// # Errors
    /// The record is gone or a different one, it does not make this message any more, or Kafka does not acknowledge
    /// the calls. Unacknowledged calls may still be sent.
    pub async fn resend(
        &self,
        place: &RecordPosition,
        event: EventId,
        message: MessageId,
        definitions: i64,
    ) -> Result<usize, ResendError> {
        let replayed = self.replay_record(place, event).await?;
        if replayed.message != message {
            return Err(ResendError::DifferentMessage);
        }
        if let Some(too_large) = replayed.too_large {
            return Err(too_large.into());
        }
        let calls = replayed.calls.len();
        let due = RetryTopicProducer::open(&self.retries, &self.client)?;
        let unwritten = due.write(replayed.calls, definitions).await;
        due.close();
        counter!("outhook_redriven_total", "how" => "resend").increment((calls - unwritten.len()) as u64);
        match unwritten.into_iter().next() {
            Some(unwritten) => Err(Box::new(unwritten).into()),
            None => Ok(calls),
        }
    }

    async fn replay_record(&self, place: &RecordPosition, event: EventId) -> Result<ReplayedMessage, ResendError> {
        let topic = place.topic.clone();
        let no_source = ResendError::NoSource { topic: topic.to_string() };
        let mut stages = (self.replay_factory)(&topic).ok_or(no_source)?;
        let topic_reader = self.topic_reader.of_topic(&topic);
        let look = move |record: &Record<'_>| Some(stages.replay(&input(&topic, record), |fired| fired == event));
        let found = topic_reader.read_at((place.partition, place.offset), READ_TIMEOUT, look).await?;
        found.ok_or(ResendError::RecordDeleted)??.pop().ok_or(ResendError::NoMatch)
    }
}
