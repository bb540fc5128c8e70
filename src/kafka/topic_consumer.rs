//! A consumer that reads the committed records of one topic. It joins no group and commits nothing.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::errors::{self, BrokerError, ClientErrors};

pub(super) struct TopicConsumer {
    consumer: BaseConsumer<ReaderContext>,
    topic: String,
    brokers: String,
}

/// Why a topic can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error("the Kafka client for topic {topic} can't be created: {source}")]
    Client { topic: String, source: Box<KafkaError> },
    #[error(
        "topic {topic} can't be looked up at {brokers}: {source}; is the address right, and does a broker run there?"
    )]
    Unreachable { topic: String, brokers: String, source: Box<KafkaError> },
    #[error("topic {topic} can't be looked up at {brokers}: {reason}")]
    Unanswered { topic: String, brokers: String, reason: BrokerError },
    #[error("there is no topic {topic}: create it with `outhook topics create`")]
    NoTopic { topic: String },
    #[error("topic {topic} can't be read: {reason}")]
    Denied { topic: String, reason: String },
}

impl TopicError {
    /// The client library refuses the settings of a client for this topic.
    pub fn client(topic: &str, source: KafkaError) -> Self {
        Self::Client { topic: topic.to_owned(), source: source.into() }
    }
}

/// Collects the client's errors. They are not logged, because the polls return them too.
#[derive(Default)]
struct ReaderContext(ClientErrors);

impl ClientContext for ReaderContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl ConsumerContext for ReaderContext {}

impl TopicConsumer {
    /// `client` has the connection settings.
    pub fn settings(topic: &str, mut client: ClientConfig) -> ClientConfig {
        client
            // An assignment requires a group id, though the reader never joins a group or commits.
            .set("group.id", format!("{topic}.reader"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            // An offset that was deleted meanwhile resets to the oldest available record.
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false");
        client
    }

    /// Does not wait for a broker. `settings` are based on [`TopicConsumer::settings`].
    pub fn open(topic: &str, settings: &ClientConfig) -> Result<Self, TopicError> {
        let consumer = settings.create_with_context(ReaderContext::default());
        let consumer = consumer.map_err(|source| TopicError::client(topic, source))?;
        let brokers = settings.get("bootstrap.servers").unwrap_or_default().to_owned();
        Ok(Self { consumer, topic: topic.to_owned(), brokers })
    }

    /// The number of partitions, which is not 0.
    pub fn partitions(&self, within: Duration) -> Result<usize, TopicError> {
        let serve = || while self.consumer.poll(Duration::ZERO).is_some() {};
        let (client, troubles) = (self.consumer.client(), &self.consumer.context().0);
        let metadata = errors::metadata(client, Some(&self.topic), within, troubles, serve).map_err(|reason| {
            TopicError::Unanswered { topic: self.topic.clone(), brokers: self.brokers.clone(), reason }
        })?;
        let found = metadata.topics().iter().find(|found| found.name() == self.topic);
        match found.map_or(0, |found| found.partitions().len()) {
            0 => Err(TopicError::NoTopic { topic: self.topic.clone() }),
            partitions => Ok(partitions),
        }
    }

    /// For each partition the first or the next offset, or that of the first record since a time in milliseconds.
    pub fn offsets(&self, partitions: usize, at: Offset, within: Duration) -> Result<Vec<Option<i64>>, TopicError> {
        let unreachable = |source: KafkaError| TopicError::Unreachable {
            topic: self.topic.clone(),
            brokers: self.brokers.clone(),
            source: source.into(),
        };
        // The request has the time, or one of the two ends, in the field of the offset.
        let query = self.places((0..partitions).map(|partition| (partition, at)))?;
        let found = self.consumer.offsets_for_times(query, within).map_err(unreachable)?;
        let mut offsets = vec![None; partitions];
        for element in found.elements() {
            element.error().map_err(unreachable)?;
            if let (Ok(partition), Offset::Offset(offset)) = (usize::try_from(element.partition()), element.offset()) {
                offsets[partition] = Some(offset);
            }
        }
        Ok(offsets)
    }

    /// Reads these partitions from these offsets, and no others.
    pub fn assign(&self, places: impl Iterator<Item = (usize, Offset)>) -> Result<(), TopicError> {
        self.consumer.assign(&self.places(places)?).map_err(self.refused())
    }

    pub fn unassign(&self) -> Result<(), TopicError> {
        self.consumer.unassign().map_err(self.refused())
    }

    /// Stops fetching a partition until the next assignment.
    pub fn pause(&self, partition: i32) -> Result<(), TopicError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        self.consumer.pause(&list).map_err(self.refused())
    }

    pub fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(wait)
    }

    fn places(&self, places: impl Iterator<Item = (usize, Offset)>) -> Result<TopicPartitionList, TopicError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in places {
            let partition = i32::try_from(partition).expect("a partition's number came from Kafka, as an i32");
            list.add_partition_offset(&self.topic, partition, offset).map_err(self.refused())?;
        }
        Ok(list)
    }

    fn refused(&self) -> impl Fn(KafkaError) -> TopicError {
        |source| TopicError::client(&self.topic, source)
    }
}
