//! Where newly assigned partitions resume: reads the offsets and metadata that their group has committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::completion::{CommitMetadata, RecordFingerprint};
use super::partition_key::PartitionKey;

/// How long newly assigned partitions wait for their committed offsets and metadata. The coordinator has just
/// answered, so this is for a coordinator that moves or restarts at this moment.
const COMMITTED_OFFSETS_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause before a commit, or a request for committed offsets, is retried.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The group's offsets and metadata of partitions that have just been assigned.
#[derive(Default)]
pub(super) struct Resumption {
    /// The Kafka cluster's id; empty if it is not known.
    pub(super) cluster: Arc<str>,
    /// The committed offsets.
    pub(super) offsets: HashMap<PartitionKey, i64>,
    /// Partitions without a committed offset.
    without_offset: Vec<PartitionKey>,
    /// The metadata committed with the offsets.
    pub(super) metadata: HashMap<PartitionKey, CommitMetadata>,
}

impl Resumption {
    /// Adds offsets and metadata that a group has committed.
    fn add_committed(&mut self, committed: &TopicPartitionList) {
        for element in committed.elements().iter().filter(|element| element.error().is_ok()) {
            let key = (element.topic().to_owned(), element.partition());
            match element.offset() {
                Offset::Offset(offset) => drop(self.offsets.insert(key.clone(), offset)),
                _ => self.without_offset.push(key.clone()),
            }
            // Brokers keep metadata as text, so the metadata of another program can be read too. It does not decode.
            if let Some(note) = CommitMetadata::decode(&self.cluster, element.metadata()) {
                self.metadata.insert(key, note);
            }
        }
    }

    /// Drops the offset and metadata of a partition, because they are of another log.
    pub(super) fn remove(&mut self, key: &PartitionKey) {
        self.offsets.remove(key);
        self.metadata.remove(key);
    }

    /// For each partition a record of the log that the offset was committed for.
    pub(super) fn logs(&self) -> HashMap<PartitionKey, RecordFingerprint> {
        self.metadata.iter().map(|(key, note)| (key.clone(), note.log_record)).collect()
    }
}

/// Reads the committed offsets and metadata of assigned partitions. May block in a rebalance callback: librdkafka's
/// own thread sends the request and receives the answer. Without an answer no record counts as settled.
pub(super) fn fetch_resumption<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    assigned: &TopicPartitionList,
) -> Resumption {
    let cluster: Arc<str> = consumer.client().fetch_cluster_id(COMMITTED_OFFSETS_TIMEOUT).unwrap_or_default().into();
    let mut resumption = Resumption { cluster, ..Resumption::default() };
    match fetch_committed(consumer, assigned) {
        Ok(committed) => resumption.add_committed(&committed),
        Err(error) => warn!(%error, "can't read the group's offsets: records settled behind them are sent again"),
    }
    let partitions = resumption.metadata.values().filter(|note| note.completion_map.is_some()).count();
    if partitions > 0 {
        info!(partitions, "records that had settled behind the committed offsets are skipped");
    }
    resumption
}

/// Takes over the offsets of the group that read these topics before, for partitions without an offset of this group.
pub(super) fn take_over_offsets(former: &ClientConfig, resumption: &mut Resumption, assigned: &TopicPartitionList) {
    let mut requested = TopicPartitionList::new();
    for (topic, partition) in std::mem::take(&mut resumption.without_offset) {
        requested.add_partition(&topic, partition);
    }
    if requested.count() == 0 {
        return;
    }
    let consumer = former.create::<BaseConsumer>();
    match consumer.and_then(|consumer| fetch_committed(&consumer, &requested)) {
        Ok(committed) => resumption.add_committed(&committed),
        Err(error) => {
            return warn!(%error, "can't read the offsets of the group that read these topics before: the topics are \
                                  read from their start");
        }
    }
    for (topic, partition) in requested.to_topic_map().into_keys() {
        let Some(offset) = resumption.offsets.get(&(topic.clone(), partition)) else { continue };
        let found = assigned.find_partition(&topic, partition);
        match found.map(|mut element| element.set_offset(Offset::Offset(*offset))) {
            Some(Ok(())) => info!(topic, partition, offset, "read from the former group's offset"),
            _ => warn!(topic, partition, "can't set the former group's offset"),
        }
    }
}

fn fetch_committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let deadline = Instant::now() + COMMITTED_OFFSETS_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.committed_offsets(partitions.clone(), left) {
            Err(_) if Instant::now() + RETRY_DELAY < deadline => thread::sleep(RETRY_DELAY),
            result => return result,
        }
    }
}
