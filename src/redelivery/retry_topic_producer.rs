//! Writes calls that are sent on request to the first retry topic, due now. Running instances read them there, like
//! calls that have waited.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::kafka::errors::is_too_large;
use crate::kafka::producer::{AwaitedProducer, NewRecord, alone};
use crate::kafka::topic_reader::Error;
use crate::kafka::{KafkaError, TopicError};
use crate::settle::RetriesConfig;
use crate::settle::StoredCall;
use crate::settle::producer;

/// Timeout of a record's acknowledgement, in milliseconds. A broker may restart in that time.
const ACK_TIMEOUT_MS: &str = "15000";

/// A producer for the first retry topic.
pub struct RetryTopicProducer {
    topic: Arc<str>,
    producer: AwaitedProducer,
}

/// A call that the topic did not acknowledge. It may still be sent, unless it is too large.
#[derive(Debug, thiserror::Error)]
#[error("a call of message {} could not be written to the retry topic: {cause}", .call.message)]
pub struct UnacknowledgedCall {
    pub call: StoredCall,
    pub cause: KafkaError,
}

impl UnacknowledgedCall {
    /// Whether the call can never be written, because the topic refuses records of its size.
    pub fn is_too_large(&self) -> bool {
        is_too_large(&self.cause)
    }
}

impl RetryTopicProducer {
    /// `client` has the connection settings of the cluster (brokers, security).
    ///
    /// # Errors
    /// The Kafka client can't be created.
    pub fn open(retries: &RetriesConfig, client: &HashMap<String, String>) -> Result<Self, Error> {
        let topic = retries.tiers().of(Duration::ZERO).topic.clone();
        let settings = producer::settings(&client.clone().into_iter().collect(), ACK_TIMEOUT_MS);
        let producer = AwaitedProducer::new(&alone(&settings)).map_err(|source| TopicError::client(&topic, source))?;
        Ok(Self { topic, producer })
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Writes all calls at the same time, so limit their number. Returns the unacknowledged calls. `definitions` is
    /// the offset of the definitions topic up to which the requester knows the definitions. Only an instance that has
    /// read as far may treat an unknown definition as deleted.
    pub async fn write(&self, calls: Vec<(StoredCall, Bytes)>, definitions: i64) -> Vec<UnacknowledgedCall> {
        let now = Timestamp::now();
        // One after the other, so that the calls of a row stay in order.
        let records: Vec<NewRecord> =
            calls.iter().map(|(call, body)| call.clone().due(now, definitions, body.clone()).record).collect();
        let written = self.producer.write_all(&self.topic, &records).await;
        let unwritten = calls.into_iter().zip(written);
        unwritten.filter_map(|((call, _), written)| Some(UnacknowledgedCall { call, cause: written.err()? })).collect()
    }

    /// Closes the client without waiting for its thread to end.
    pub fn close(self) {
        self.producer.close();
    }
}
