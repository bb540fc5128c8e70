//! Detects recreated topics: whether assigned partitions still have the log that their committed offsets are of.
//!
//! A topic that is deleted and recreated has the same name, and the group keeps its offsets by name. Kafka deletes
//! the offsets with the topic, except those that are committed again after that. So each commit carries a record of
//! the log. Another log has a different record at that offset, or none. Topics have ids too, but Kafka's client does
//! not report them.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};
use tracing::{debug, warn};

use super::completion::RecordFingerprint;
use super::partition_key::PartitionKey;
use super::rereader::non_member_settings;

/// How long newly assigned partitions wait for the answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Finds partitions whose topics were recreated.
pub(super) struct RecreatedPartitions {
    settings: ClientConfig,
}

/// A partition whose record has not arrived yet.
struct PendingCheck {
    key: PartitionKey,
    expected: RecordFingerprint,
    queue: PartitionQueue<QuietContext>,
}

struct QuietContext;

impl ClientContext for QuietContext {
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "the client that detects recreated topics retries after an error");
    }
}

impl ConsumerContext for QuietContext {}

impl RecreatedPartitions {
    /// `client` has the settings of the group's consumer.
    pub(super) fn new(client: &ClientConfig) -> Self {
        Self { settings: Self::settings(client) }
    }

    pub(super) fn settings(client: &ClientConfig) -> ClientConfig {
        let mut settings = non_member_settings(client);
        settings
            .set("enable.partition.eof", "true")
            // One record of each partition is needed. A record of a larger batch arrives despite these limits.
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "4096");
        settings
    }

    /// The partitions of `logs` that now have a different record, or end before it. A partition is not included if
    /// nothing is known: its record was deleted by retention or compaction, or no broker answers in time. Blocks.
    pub(super) fn find_recreated(&self, logs: HashMap<PartitionKey, RecordFingerprint>) -> HashSet<PartitionKey> {
        if logs.is_empty() {
            return HashSet::new();
        }
        self.fetch_and_compare(logs).unwrap_or_else(|error| {
            warn!(%error, "can't check whether topics were recreated: they are read from the committed offsets");
            HashSet::new()
        })
    }

    fn fetch_and_compare(&self, logs: HashMap<PartitionKey, RecordFingerprint>) -> KafkaResult<HashSet<PartitionKey>> {
        let consumer = Arc::new(self.settings.create_with_context::<_, BaseConsumer<QuietContext>>(QuietContext)?);
        let mut positions = TopicPartitionList::with_capacity(logs.len());
        let mut pending_checks = Vec::with_capacity(logs.len());
        for (key, log) in logs {
            positions.add_partition_offset(&key.0, key.1, Offset::Offset(log.offset))?;
            let queue = consumer.split_partition_queue(&key.0, key.1);
            pending_checks.extend(queue.map(|queue| PendingCheck { key, expected: log, queue }));
        }
        consumer.assign(&positions)?;
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let mut recreated = HashSet::new();
        loop {
            // Serves events of the client. Records arrive in the queues of their partitions.
            let _ = consumer.poll(Duration::ZERO);
            let left = deadline.saturating_duration_since(Instant::now());
            pending_checks.retain(|of| match of.is_recreated(&consumer, left) {
                Some(true) => !recreated.insert(of.key.clone()),
                Some(false) => false,
                None => true,
            });
            if pending_checks.is_empty() {
                return Ok(recreated);
            }
            if left.is_zero() {
                let partitions = pending_checks.len();
                warn!(
                    partitions,
                    "no broker answered whether topics were recreated: they are read from the committed offsets"
                );
                return Ok(recreated);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl PendingCheck {
    /// Whether this is another log; None until an answer has arrived.
    fn is_recreated(&self, consumer: &BaseConsumer<QuietContext>, left: Duration) -> Option<bool> {
        match self.queue.poll(Duration::ZERO)? {
            Ok(message) => {
                let timestamp = message.timestamp().to_millis().unwrap_or(0);
                Some(is_other_log(self.expected, RecordFingerprint { offset: message.offset(), timestamp }))
            }
            // No record at this offset or behind it: retention has deleted all, or the log is too short.
            Err(KafkaError::PartitionEOF(_)) => {
                let ends = consumer.fetch_watermarks(&self.key.0, self.key.1, left);
                Some(ends.is_ok_and(|(_, end)| end <= self.expected.offset))
            }
            Err(error) => {
                debug!(%error, "the client that detects recreated topics retries after an error");
                None
            }
        }
    }
}

/// Whether the record found shows another log. `was` is the expected record.
fn is_other_log(was: RecordFingerprint, found: RecordFingerprint) -> bool {
    match found.offset.cmp(&was.offset) {
        Ordering::Equal => found.timestamp != was.timestamp,
        // The log ends before the offset, and the client continued at its start.
        Ordering::Less => true,
        Ordering::Greater => false,
    }
}

/// Counts a partition that is read from its start.
pub(super) fn count(topic: &str) {
    metrics::counter!("outhook_partitions_made_anew_total", "topic" => topic.to_owned()).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_log_has_a_different_record_or_an_earlier_end() {
        let was = RecordFingerprint { offset: 7, timestamp: 1000 };
        let is = |offset, timestamp| is_other_log(was, RecordFingerprint { offset, timestamp });
        assert!(!is(7, 1000));
        assert!(is(7, 1001) && is(7, 0));
        assert!(is(6, 1000), "the end is before it, and the client went to the start");
        assert!(!is(8, 2000), "the record itself may have been deleted");
    }
}
