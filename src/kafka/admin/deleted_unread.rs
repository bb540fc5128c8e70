//! Records that retention deleted before the consumer group read them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::PATIENCE;

/// Offsets of a partition that were deleted before the group read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedUnread {
    pub topic: String,
    pub partition: i32,
    pub offsets: Range<i64>,
}

/// Compares the group's committed offsets with the start offsets of these topics, as far as brokers answer in time.
/// Joins no group. `client` has the connection settings.
///
/// # Errors
/// No broker returns the committed offsets.
pub async fn deleted_unread(
    mut client: ClientConfig,
    group: &str,
    topics: &BTreeMap<String, usize>,
) -> Result<Vec<DeletedUnread>, KafkaError> {
    client.set("group.id", group);
    let mut partitions = TopicPartitionList::new();
    for (topic, count) in topics {
        (0..*count).filter_map(|partition| i32::try_from(partition).ok()).for_each(|partition| {
            partitions.add_partition(topic, partition);
        });
    }
    let task = tokio::task::spawn_blocking(move || find_deleted(&client.create()?, partitions));
    task.await.expect("asking brokers does not panic")
}

fn find_deleted(consumer: &BaseConsumer, partitions: TopicPartitionList) -> KafkaResult<Vec<DeletedUnread>> {
    // For the answers about all partitions together.
    let deadline = Instant::now() + PATIENCE;
    let left = || deadline.saturating_duration_since(Instant::now());
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = consumer.committed_offsets(partitions, left())?;
    let mut deleted = Vec::new();
    for element in committed.elements() {
        let Offset::Offset(next) = element.offset() else { continue };
        let (topic, partition) = (element.topic(), element.partition());
        // A partition without a leader must not hide the results of the others.
        let start = consumer.fetch_watermarks(topic, partition, left()).map_or(0, |(start, _)| start);
        if start > next {
            deleted.push(DeletedUnread { topic: topic.to_owned(), partition, offsets: next..start });
        }
    }
    Ok(deleted)
}
