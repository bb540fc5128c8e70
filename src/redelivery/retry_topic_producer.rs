//! Calls that go out because somebody orders it: each is written to the first retry topic, due now, from where
//! running instances take it as they take a call that has waited.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;

use crate::kafka::topic_reader::Error;
use crate::settle::Retries;
use crate::settle::StoredCall;
use crate::settle::producer::{self, is_too_large};

/// How long a record may take to be acknowledged, in milliseconds: a broker may restart meanwhile.
const ACKNOWLEDGED_MS: &str = "15000";

/// The first retry topic, open for writing.
pub struct RetryTopicProducer {
    topic: Arc<str>,
    producer: FutureProducer,
}

/// A call that the topic did not acknowledge, though unless it is too large it may go out still.
#[derive(Debug, thiserror::Error)]
#[error("a call of message {} could not be written to the retry topic: {cause}", .call.message)]
pub struct UnacknowledgedCall {
    pub call: StoredCall,
    pub cause: KafkaError,
}

impl UnacknowledgedCall {
    /// Whether it will never be written: the topic takes no record of its size.
    pub fn is_too_large(&self) -> bool {
        is_too_large(&self.cause)
    }
}

impl RetryTopicProducer {
    /// `client` says how the cluster is reached (brokers, security).
    ///
    /// # Errors
    /// The Kafka client can't be made.
    pub fn open(retries: &Retries, client: &HashMap<String, String>) -> Result<Self, Error> {
        let topic = retries.tiers().of(Duration::ZERO).topic.clone();
        let settings = producer::settings(&client.clone().into_iter().collect(), ACKNOWLEDGED_MS);
        let settings = producer::alone(&settings);
        let refused = |source: KafkaError| Error::Client { topic: topic.to_string(), source: source.into() };
        let producer = settings.create().map_err(refused)?;
        Ok(Self { topic, producer })
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Writes calls all at once, so there should not be too many; returns those that are not acknowledged.
    /// `definitions` is the offset of their log up to which they are known to whoever orders it: no instance that
    /// knows less takes a call for one of a definition that is gone.
    pub async fn write(&self, calls: Vec<(StoredCall, Bytes)>, definitions: i64) -> Vec<UnacknowledgedCall> {
        let now = Timestamp::now();
        let mut under_way = Vec::with_capacity(calls.len());
        for (call, body) in calls {
            let record = call.clone().due(now, definitions, body);
            // One after the other, so that those of a row that is kept in order stay in it.
            let begun = producer::begin(&self.producer, &self.topic, &record).await;
            under_way.push((call, begun));
        }
        let mut unwritten = Vec::new();
        for (call, begun) in under_way {
            let written = match begun {
                Ok(delivery) => producer::outcome(delivery.await),
                Err(cause) => Err(cause),
            };
            if let Err(cause) = written {
                unwritten.push(UnacknowledgedCall { call, cause });
            }
        }
        unwritten
    }

    /// Gives the client back without waiting for its thread to end.
    pub fn close(self) {
        tokio::task::spawn_blocking(move || drop(self));
    }
}
