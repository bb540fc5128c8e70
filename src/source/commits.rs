//! Commits: writes the offsets and metadata of owned partitions to the group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::partition::{Commit, PartitionState};

/// Max partitions in one commit. A broker keeps all offsets of a commit in one batch of `__consumer_offsets`, which
/// has 1 MiB by default, and refuses the whole commit if they do not fit. This number of partitions fits with the
/// largest completion maps.
const MAX_PARTITIONS_PER_COMMIT: usize = 100;

/// Serializes the commits: one at a time.
#[derive(Default)]
pub(super) struct Commits {
    commit_lock: Mutex<()>,
    /// The broker refuses metadata of this size, so commits have none.
    metadata_rejected: AtomicBool,
}

/// The right to commit. It is held from the choice of offsets to the end of the commit, and until revoked partitions
/// are removed: a commit that is overtaken by a later commit, or by the partition's next owner, would move the group
/// back.
pub(super) struct CommitPermit<'a> {
    commits: &'a Commits,
    _guard: MutexGuard<'a, ()>,
}

/// A due commit of a partition.
type DueCommit<'a> = (&'a Arc<PartitionState>, Commit);

impl Commits {
    /// Waits until no commit is under way, and returns the right to commit.
    pub(super) fn acquire_permit(&self) -> CommitPermit<'_> {
        CommitPermit { commits: self, _guard: self.commit_lock.lock() }
    }
}

impl CommitPermit<'_> {
    /// Commits the due offsets of these partitions.
    pub(super) fn commit<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        partition_states: &[Arc<PartitionState>],
    ) -> KafkaResult<()> {
        let mut due: Vec<_> = partition_states.iter().filter_map(|state| Some((state, state.due()?))).collect();
        due.sort_by(|(one, _), (other, _)| one.topic.cmp(&other.topic));
        let results = due.chunks(MAX_PARTITIONS_PER_COMMIT).map(|some| self.commit_batch(consumer, some));
        // Each is tried, even if the one before failed.
        results.fold(Ok(()), Result::and)
    }

    fn commit_batch<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, due: &[DueCommit<'_>]) -> KafkaResult<()> {
        let result = self.commit_with_metadata(consumer, due);
        if let Some(error) = result.as_ref().err().filter(|error| is_topic_error(error)) {
            let mut topics = due.chunk_by(|(one, _), (other, _)| one.topic == other.topic);
            if topics.clone().count() > 1 {
                // The broker may have accepted the others. Their partitions must not wait for a topic that is always
                // refused.
                return topics.map(|one| self.commit_batch(consumer, one)).fold(Ok(()), Result::and);
            }
            debug!(topic = topics.next().map(|one| &*one[0].0.topic), %error, "commits of a topic are refused");
        }
        if result.is_ok() {
            due.iter().for_each(|(state, commit)| state.mark_committed(commit.clone()));
        }
        let word = if result.is_ok() { "ok" } else { "failed" };
        metrics::counter!("outhook_commits_total", "result" => word).increment(1);
        result
    }

    /// Commits with metadata, as long as the broker accepts it.
    fn commit_with_metadata<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        due: &[DueCommit<'_>],
    ) -> KafkaResult<()> {
        let without_notes = &self.commits.metadata_rejected;
        let result = send(consumer, due, !without_notes.load(Ordering::Relaxed));
        let code = result.as_ref().err().and_then(|error| error.rdkafka_error_code());
        if code != Some(RDKafkaErrorCode::OffsetMetadataTooLarge) {
            return result;
        }
        warn!(
            "the broker's offset.metadata.max.bytes is less than its default, 4096: after a crash, records that had \
             settled behind an unsettled record are sent again, and a recreated topic is not detected"
        );
        without_notes.store(true, Ordering::Relaxed);
        send(consumer, due, false)
    }
}

/// Whether a broker reports this error for some topics of a commit, and may have accepted the others.
pub(super) fn is_topic_error(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::UnknownTopicOrPartition))
}

fn send<C: ConsumerContext>(consumer: &BaseConsumer<C>, due: &[DueCommit<'_>], with_notes: bool) -> KafkaResult<()> {
    let mut offsets = TopicPartitionList::with_capacity(due.len());
    for (partition_state, commit) in due {
        let mut element = offsets.add_partition(&partition_state.topic, partition_state.partition);
        element.set_offset(Offset::Offset(commit.offset))?;
        if with_notes && !commit.metadata.is_empty() {
            element.set_metadata(&commit.metadata);
        }
    }
    consumer.commit(&offsets, CommitMode::Sync)
}
