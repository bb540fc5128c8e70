//! Writes calls that are sent on request to the first retry topic, due now. Running instances read them there, like
//! calls that have waited.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::producer::FutureProducer;

use crate::kafka::KafkaError;
use crate::kafka::errors::is_too_large;
use crate::kafka::topic_reader::Error;
use crate::settle::RetriesConfig;
use crate::settle::StoredCall;
use crate::settle::producer;

/// Timeout of a record's acknowledgement, in milliseconds. A broker may restart in that time.
const ACKNOWLEDGED_MS: &str = "15000";

/// A producer for the first retry topic.
pub struct RetryTopicProducer {
    topic: Arc<str>,
    producer: FutureProducer,
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
        let settings = producer::settings(&client.clone().into_iter().collect(), ACKNOWLEDGED_MS);
        let settings = producer::alone(&settings);
        let refused = |source: KafkaError| Error::Client { topic: topic.to_string(), source: source.into() };
        let producer = settings.create().map_err(refused)?;
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
        let mut under_way = Vec::with_capacity(calls.len());
        for (call, body) in calls {
            let record = call.clone().due(now, definitions, body);
            // One after the other, so that the calls of a row stay in order.
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

    /// Closes the client without waiting for its thread to end.
    pub fn close(self) {
        tokio::task::spawn_blocking(move || drop(self));
    }
}
