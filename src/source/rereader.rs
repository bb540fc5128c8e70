//! Reads waiting records of owned partitions again, at any offset.
//!
//! Meanwhile the group's consumer reads at the end of the partition. So this is a separate client that joins no
//! group. A partition is assigned to it only while records of it are to be read: a broker answers a request for
//! several partitions late if one of them is idle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::read_error::store_last_reason;
use crate::telemetry::RepeatFilter;

/// Settings that a client without a group does not need and may not accept.
pub const GROUP_MEMBER_SETTINGS: [&str; 10] = [
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "group.instance.id",
    "coordinator.query.interval.ms",
    "max.poll.interval.ms",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "partition.assignment.strategy",
    "statistics.interval.ms",
];

/// Max distance, in records, to a record that is reached by reading on. A record further ahead needs a new fetch.
const MAX_READ_AHEAD_DISTANCE: i64 = 2000;

/// How long a partition stays assigned while no record of it is read.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a broker may take to return a partition's first offset.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The client, created when it is first needed.
pub(super) struct Rereader {
    settings: ClientConfig,
    consumer: Mutex<Option<Arc<BaseConsumer<RereadContext>>>>,
}

/// One partition of the client.
pub(super) struct RereadPartition {
    consumer: Arc<BaseConsumer<RereadContext>>,
    topic: Arc<str>,
    partition: i32,
    queue: PartitionQueue<RereadContext>,
    /// Notified when records have arrived.
    pub(super) arrived: Arc<Notify>,
    /// The offset after the last record that was read; None while the partition is not assigned.
    position: Option<i64>,
    /// When the last record was read.
    last_read_at: Instant,
}

/// Settings of a client that reads the topics of the group's consumer at any offset. It has the group's name, because
/// an assignment needs a group that the cluster allows, but it neither joins the group nor commits.
pub(super) fn non_member_settings(client: &ClientConfig) -> ClientConfig {
    let mut settings = client.clone();
    for name in GROUP_MEMBER_SETTINGS {
        settings.remove(name);
    }
    settings
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // If a record is gone, the client continues at the oldest record that exists.
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "10");
    settings
}

#[derive(Default)]
pub(super) struct RereadContext(RepeatFilter);

impl ClientContext for RereadContext {
    fn error(&self, error: KafkaError, reason: &str) {
        store_last_reason(reason);
        if let Some(more) = self.0.due(reason, Instant::now()) {
            warn!(%error, reason, more, "the client that reads waiting calls reports an error and retries");
        }
    }
}

impl ConsumerContext for RereadContext {}

impl Rereader {
    /// `client` has the settings of the group's consumer.
    pub(super) fn new(client: &ClientConfig) -> Arc<Self> {
        Arc::new(Self { settings: Self::settings(client), consumer: Mutex::default() })
    }

    pub(super) fn settings(client: &ClientConfig) -> ClientConfig {
        let mut settings = non_member_settings(client);
        settings.set("queued.max.messages.kbytes", "1024").set("fetch.message.max.bytes", "262144");
        settings
    }

    /// Returns a partition of the client, which is created if there is none.
    ///
    /// # Errors
    /// The Kafka client can't be created, or has no queue for the partition.
    pub(super) fn open_partition(&self, topic: &Arc<str>, partition: i32) -> KafkaResult<RereadPartition> {
        let mut made = self.consumer.lock();
        let consumer = match &*made {
            Some(consumer) => consumer.clone(),
            None => made.insert(Arc::new(self.settings.create_with_context(RereadContext::default())?)).clone(),
        };
        let mut queue = consumer
            .split_partition_queue(topic, partition)
            .ok_or_else(|| KafkaError::Subscription(format!("no queue of {topic} {partition}")))?;
        let arrived = Arc::<Notify>::default();
        let wake = arrived.clone();
        queue.set_nonempty_callback(move || wake.notify_one());
        Ok(RereadPartition {
            consumer,
            topic: topic.clone(),
            partition,
            queue,
            arrived,
            position: None,
            last_read_at: Instant::now(),
        })
    }
}

impl RereadPartition {
    /// Continues at this offset, or at the first record behind it.
    pub(super) fn seek(&mut self, offset: i64) -> KafkaResult<()> {
        if self.position.is_some_and(|position| (position..position + MAX_READ_AHEAD_DISTANCE).contains(&offset)) {
            return Ok(());
        }
        self.unassign();
        let mut position = TopicPartitionList::new();
        position.add_partition_offset(&self.topic, self.partition, Offset::Offset(offset))?;
        self.consumer.incremental_assign(&position)?;
        (self.position, self.last_read_at) = (Some(offset), Instant::now());
        Ok(())
    }

    /// The next record, if it has arrived.
    pub(super) fn poll(&mut self) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        // Serves events of the client. Records arrive in the queue of their partition.
        match self.consumer.poll(Duration::ZERO) {
            None => {}
            Some(Ok(_)) => warn!(topic = %self.topic, "a record came outside its partition's queue; it is read again"),
            Some(Err(error)) => debug!(%error, "the client that reads waiting calls retries after an error"),
        }
        let polled = self.queue.poll(Duration::ZERO)?;
        if let Ok(message) = &polled {
            (self.position, self.last_read_at) = (Some(message.offset() + 1), Instant::now());
        }
        Some(polled)
    }

    /// The offset of the partition's first record; None if no broker answers.
    pub(super) async fn first_offset(&self) -> Option<i64> {
        let (consumer, topic, partition) = (self.consumer.clone(), self.topic.clone(), self.partition);
        let task = tokio::task::spawn_blocking(move || consumer.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT));
        match task.await {
            Ok(Ok((first, _))) => Some(first),
            Ok(Err(error)) => {
                warn!(topic = %self.topic, partition, %error, "can't read the first offset of the partition");
                None
            }
            Err(_) => None,
        }
    }

    /// Stops fetching if no record was read for [`IDLE_TIMEOUT`]: at the end of a partition the client would poll the
    /// broker all the time.
    pub(super) fn unassign_when_idle(&mut self) {
        if self.position.is_some() && self.last_read_at.elapsed() >= IDLE_TIMEOUT {
            self.unassign();
        }
    }

    /// Stops fetching until the next [`RereadPartition::seek`].
    pub(super) fn unassign(&mut self) {
        if self.position.is_none() {
            return;
        }
        let mut position = TopicPartitionList::new();
        position.add_partition(&self.topic, self.partition);
        match self.consumer.incremental_unassign(&position) {
            Ok(()) => self.position = None,
            Err(error) => {
                warn!(topic = %self.topic, partition = self.partition, %error, "can't stop fetching a partition");
            }
        }
    }
}

impl Drop for RereadPartition {
    fn drop(&mut self) {
        self.unassign();
    }
}
