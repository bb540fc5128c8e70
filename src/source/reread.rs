//! Reads records of owned partitions once more, wherever they stand in their topic.
//!
//! The group's consumer goes on at the end of the partition meanwhile. So this is a client of its own, which belongs to
//! no group's work: a partition is assigned to it only while something of it is to be read, since a broker answers a
//! request for several partitions late where one of them is idle.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::read_state::keep_reason;
use crate::telemetry::RepeatFilter;

/// What a client that joins no group has no use for, and may not get along with.
pub const OF_MEMBERS: [&str; 10] = [
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

/// How far ahead it is read on to a record rather than looked for anew, in records.
const NEAR: i64 = 2000;

/// For how long a partition is fetched of which nothing is read.
const IDLE: Duration = Duration::from_secs(1);

/// How long a broker may take to say where a partition starts.
const ANSWER: Duration = Duration::from_secs(5);

/// The client, made when it is needed first.
pub(super) struct Rereader {
    settings: ClientConfig,
    consumer: Mutex<Option<Arc<BaseConsumer<RereadContext>>>>,
}

/// One partition's place in it.
pub(super) struct Reread {
    consumer: Arc<BaseConsumer<RereadContext>>,
    topic: Arc<str>,
    partition: i32,
    queue: PartitionQueue<RereadContext>,
    /// Told when records have come.
    pub(super) arrived: Arc<Notify>,
    /// The offset after the last record that was read; None while the partition is not assigned.
    position: Option<i64>,
    /// When a record was read last.
    used: Instant,
}

/// Settings of a client that reads what the group's consumer reads, wherever it is told to. It has the group's name,
/// because assigning wants one that the cluster allows, but neither joins nor commits.
pub(super) fn of_no_member(client: &ClientConfig) -> ClientConfig {
    let mut settings = client.clone();
    for name in OF_MEMBERS {
        settings.remove(name);
    }
    settings
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A record that is gone leads to the oldest one that is left.
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "10");
    settings
}

#[derive(Default)]
pub(super) struct RereadContext(RepeatFilter);

impl ClientContext for RereadContext {
    fn error(&self, error: KafkaError, reason: &str) {
        keep_reason(reason);
        if let Some(more) = self.0.due(reason, Instant::now()) {
            warn!(%error, reason, more, "the client that reads waiting calls again reports an error and goes on by itself");
        }
    }
}

impl ConsumerContext for RereadContext {}

impl Rereader {
    /// `client` are the settings of the group's consumer.
    pub(super) fn new(client: &ClientConfig) -> Arc<Self> {
        Arc::new(Self { settings: Self::settings(client), consumer: Mutex::default() })
    }

    pub(super) fn settings(client: &ClientConfig) -> ClientConfig {
        let mut settings = of_no_member(client);
        settings.set("queued.max.messages.kbytes", "1024").set("fetch.message.max.bytes", "262144");
        settings
    }

    /// A partition's place in the client, which is made if it is not there.
    ///
    /// # Errors
    /// The Kafka client can't be made, or gives the partition no queue.
    pub(super) fn of(&self, topic: &Arc<str>, partition: i32) -> KafkaResult<Reread> {
        let mut made = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
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
        Ok(Reread { consumer, topic: topic.clone(), partition, queue, arrived, position: None, used: Instant::now() })
    }
}

impl Reread {
    /// The next record comes from this offset, or from the first one behind it that there is.
    pub(super) fn go_to(&mut self, offset: i64) -> KafkaResult<()> {
        if self.position.is_some_and(|position| (position..position + NEAR).contains(&offset)) {
            return Ok(());
        }
        self.leave();
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(&self.topic, self.partition, Offset::Offset(offset))?;
        self.consumer.incremental_assign(&place)?;
        (self.position, self.used) = (Some(offset), Instant::now());
        Ok(())
    }

    /// The next record, if it is there.
    pub(super) fn poll(&mut self) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        // Events of the client itself: records come to the partition's own queue.
        match self.consumer.poll(Duration::ZERO) {
            None => {}
            Some(Ok(_)) => warn!(topic = %self.topic, "a record came to no partition's queue; it is read again"),
            Some(Err(error)) => debug!(%error, "the client that reads waiting calls again goes on by itself"),
        }
        let polled = self.queue.poll(Duration::ZERO)?;
        if let Ok(message) = &polled {
            (self.position, self.used) = (Some(message.offset() + 1), Instant::now());
        }
        Some(polled)
    }

    /// The offset of the first record that the partition has; None if no broker says.
    pub(super) async fn first_offset(&self) -> Option<i64> {
        let (consumer, topic, partition) = (self.consumer.clone(), self.topic.clone(), self.partition);
        let asked = tokio::task::spawn_blocking(move || consumer.fetch_watermarks(&topic, partition, ANSWER));
        match asked.await {
            Ok(Ok((first, _))) => Some(first),
            Ok(Err(error)) => {
                warn!(topic = %self.topic, partition, %error, "it is not known where the partition starts");
                None
            }
            Err(_) => None,
        }
    }

    /// Leaves when nothing was read for a while: at the end of a partition it would be asked for more all the time.
    pub(super) fn leave_when_idle(&mut self) {
        if self.position.is_some() && self.used.elapsed() >= IDLE {
            self.leave();
        }
    }

    /// Fetches nothing until it is to go somewhere again.
    pub(super) fn leave(&mut self) {
        if self.position.is_none() {
            return;
        }
        let mut place = TopicPartitionList::new();
        place.add_partition(&self.topic, self.partition);
        match self.consumer.incremental_unassign(&place) {
            Ok(()) => self.position = None,
            Err(error) => {
                warn!(topic = %self.topic, partition = self.partition, %error, "a partition is still fetched");
            }
        }
    }
}

impl Drop for Reread {
    fn drop(&mut self) {
        self.leave();
    }
}
