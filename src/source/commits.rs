//! Commits: writes the offsets and metadata of owned partitions to the group, and reads them at an assignment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::Handlers;
use super::completion::{CommitMetadata, Mark};
use super::consumer::Context;
use super::partition::{Commit, PartitionState};
use super::partition_key::Key;
use crate::kafka::errors;
use crate::lifecycle::Stopping;

/// How long the last commit is retried.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long newly assigned partitions wait for their committed offsets and metadata. The coordinator has just
/// answered, so this is for a coordinator that moves or restarts at this moment.
const READ_PATIENCE: Duration = Duration::from_secs(3);

/// The pause before a retry.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a commit may take before that is logged.
const SLOW: Duration = Duration::from_secs(3);

/// How many commits in a row must fail before that is logged: a few fail in a rebalance.
const FAILED_OFTEN: u32 = 10;
/// Max failed commits in a minute, because each is followed by a pause. After this number it is logged again.
const FAILED_IN_A_MINUTE: u32 = 600;

/// Max partitions in one commit. A broker keeps all offsets of a commit in one batch of `__consumer_offsets`, which
/// has 1 MiB by default, and refuses the whole commit if they do not fit. This number of partitions fits with the
/// largest completion maps.
const PARTITIONS_IN_A_COMMIT: usize = 100;

/// Serializes the commits: one at a time.
#[derive(Default)]
pub(super) struct Commits {
    committing: Mutex<()>,
    /// The broker refuses metadata of this size, so commits have none.
    without_notes: AtomicBool,
}

/// The right to commit. It is held from the choice of offsets to the end of the commit, and until revoked partitions
/// are removed: a commit that is overtaken by a later commit, or by the partition's next owner, would move the group
/// back.
pub(super) struct CommitPermit<'a> {
    commits: &'a Commits,
    _committing: MutexGuard<'a, ()>,
}

/// A due commit of a partition.
type Due<'a> = (&'a Arc<PartitionState>, Commit);

impl Commits {
    /// Waits until no commit is under way, and returns the right to commit.
    pub(super) fn turn(&self) -> CommitPermit<'_> {
        CommitPermit { commits: self, _committing: self.committing.lock() }
    }
}

impl CommitPermit<'_> {
    /// Commits the due offsets of these partitions.
    pub(super) fn commit<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        books: &[Arc<PartitionState>],
    ) -> KafkaResult<()> {
        let mut due: Vec<_> = books.iter().filter_map(|book| Some((book, book.due()?))).collect();
        due.sort_by(|(one, _), (other, _)| one.topic.cmp(&other.topic));
        let results = due.chunks(PARTITIONS_IN_A_COMMIT).map(|some| self.commit_together(consumer, some));
        // Each is tried, even if the one before failed.
        results.fold(Ok(()), Result::and)
    }

    fn commit_together<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, due: &[Due<'_>]) -> KafkaResult<()> {
        let result = self.commit_with_notes(consumer, due);
        if let Some(error) = result.as_ref().err().filter(|error| is_of_a_topic(error)) {
            let mut topics = due.chunk_by(|(one, _), (other, _)| one.topic == other.topic);
            if topics.clone().count() > 1 {
                // The broker may have accepted the others. Their partitions must not wait for a topic that is always
                // refused.
                return topics.map(|one| self.commit_together(consumer, one)).fold(Ok(()), Result::and);
            }
            debug!(topic = topics.next().map(|one| &*one[0].0.topic), %error, "commits of a topic are refused");
        }
        if result.is_ok() {
            due.iter().for_each(|(book, commit)| book.committed(commit.clone()));
        }
        let word = if result.is_ok() { "ok" } else { "failed" };
        metrics::counter!("outhook_commits_total", "result" => word).increment(1);
        result
    }

    /// Commits with metadata, as long as the broker accepts it.
    fn commit_with_notes<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, due: &[Due<'_>]) -> KafkaResult<()> {
        let without_notes = &self.commits.without_notes;
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
fn is_of_a_topic(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::UnknownTopicOrPartition))
}

fn send<C: ConsumerContext>(consumer: &BaseConsumer<C>, due: &[Due<'_>], with_notes: bool) -> KafkaResult<()> {
    let mut offsets = TopicPartitionList::with_capacity(due.len());
    for (book, commit) in due {
        let mut element = offsets.add_partition(&book.topic, book.partition);
        element.set_offset(Offset::Offset(commit.offset))?;
        if with_notes && !commit.note.is_empty() {
            element.set_metadata(&commit.note);
        }
    }
    consumer.commit(&offsets, CommitMode::Sync)
}

/// Commits settled offsets periodically, and immediately when `hurry` is notified. Each commit is awaited: librdkafka
/// reports the result only to a caller that waits (rdkafka sets no `offset_commit_cb`). Otherwise a commit that
/// failed in a rebalance would not be retried if nothing more settles.
pub(super) async fn commit_settled<H: Handlers>(
    consumer: Arc<BaseConsumer<Context<H>>>,
    every: Duration,
    hurry: Arc<Notify>,
    mut stopped: Stopping,
) {
    let mut failed = 0;
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // After a failure only the tick retries: a commit may fail immediately each time.
            () = hurry.notified(), if failed == 0 => {}
            () = stopped.asked() => return,
        }
        let committing = consumer.clone();
        let mut commit = tokio::task::spawn_blocking(move || {
            let context = committing.context();
            let turn = context.commits.turn();
            turn.commit(&*committing, &context.assignment.books())
        });
        let committed = match timeout(SLOW, &mut commit).await {
            Ok(committed) => committed,
            Err(_) => {
                let of = consumer.context().name;
                warn!(of, "a commit has no answer yet: partitions pause once kafka.max_uncommitted is reached");
                commit.await
            }
        };
        match committed {
            Ok(Ok(())) => failed = 0,
            Ok(Err(error)) => {
                failed += 1;
                debug!(%error, "a commit failed; the next commit includes its offsets");
                if failed % FAILED_IN_A_MINUTE == FAILED_OFTEN {
                    let of = consumer.context().name;
                    let error = errors::told(&error);
                    warn!(of, failed, error, "commits fail: partitions pause once kafka.max_uncommitted is reached");
                }
                tick.reset_after(every.min(PAUSE));
            }
            Err(error) => error!(%error, "the task of a commit ended early"),
        }
    }
}

/// Commits all owned partitions before the member leaves the group. The group may be rebalancing, because another
/// member has just left, or its coordinator may be moving: both pass while the callbacks are still served. The
/// partition states record whether the commit succeeded.
pub(super) fn commit_last<H: Handlers>(consumer: &BaseConsumer<Context<H>>) {
    let deadline = Instant::now() + PATIENCE;
    let context = consumer.context();
    loop {
        let turn = context.commits.turn();
        let Err(error) = turn.commit(consumer, &context.assignment.books()) else { return };
        drop(turn);
        // A retry can't help if a topic is refused.
        if is_of_a_topic(&error) || Instant::now() > deadline {
            return warn!(%error, "the last commit failed");
        }
        thread::sleep(PAUSE);
    }
}

/// The group's offsets and metadata of partitions that have just been assigned.
#[derive(Default)]
pub(super) struct Resumption {
    /// The Kafka cluster's id; empty if it is not known.
    pub(super) cluster: Arc<str>,
    /// The committed offsets.
    pub(super) offsets: HashMap<Key, i64>,
    /// Partitions without a committed offset.
    pub(super) uncommitted: Vec<Key>,
    /// The metadata committed with the offsets.
    pub(super) notes: HashMap<Key, CommitMetadata>,
}

impl Resumption {
    /// Adds offsets and metadata that a group has committed.
    fn learn(&mut self, committed: &TopicPartitionList) {
        for element in committed.elements().iter().filter(|element| element.error().is_ok()) {
            let key = (element.topic().to_owned(), element.partition());
            match element.offset() {
                Offset::Offset(offset) => drop(self.offsets.insert(key.clone(), offset)),
                _ => self.uncommitted.push(key.clone()),
            }
            // Brokers keep metadata as text, so the metadata of another program can be read too. It does not decode.
            if let Some(note) = CommitMetadata::decode(&self.cluster, element.metadata()) {
                self.notes.insert(key, note);
            }
        }
    }

    /// Drops the offset and metadata of a partition, because they are of another log.
    pub(super) fn forget(&mut self, key: &Key) {
        self.offsets.remove(key);
        self.notes.remove(key);
    }

    /// For each partition a record of the log that the offset was committed for.
    pub(super) fn logs(&self) -> HashMap<Key, Mark> {
        self.notes.iter().map(|(key, note)| (key.clone(), note.log)).collect()
    }
}

/// Reads the committed offsets and metadata of assigned partitions. May block in a rebalance callback: librdkafka's
/// own thread sends the request and receives the answer. Without an answer no record counts as settled.
pub(super) fn resumption<C: ConsumerContext>(consumer: &BaseConsumer<C>, assigned: &TopicPartitionList) -> Resumption {
    let cluster: Arc<str> = consumer.client().fetch_cluster_id(READ_PATIENCE).unwrap_or_default().into();
    let mut resumption = Resumption { cluster, ..Resumption::default() };
    match committed(consumer, assigned) {
        Ok(committed) => resumption.learn(&committed),
        Err(error) => warn!(%error, "can't read the group's offsets: records settled behind them are sent again"),
    }
    let partitions = resumption.notes.values().filter(|note| note.completion.is_some()).count();
    if partitions > 0 {
        info!(partitions, "records that had settled behind the committed offsets are skipped");
    }
    resumption
}

/// Takes over the offsets of the group that read these topics before, for partitions without an offset of this group.
pub(super) fn take_over(former: &ClientConfig, resumption: &mut Resumption, assigned: &TopicPartitionList) {
    let mut asked = TopicPartitionList::new();
    for (topic, partition) in std::mem::take(&mut resumption.uncommitted) {
        asked.add_partition(&topic, partition);
    }
    if asked.count() == 0 {
        return;
    }
    let consumer = former.create::<BaseConsumer>();
    match consumer.and_then(|consumer| committed(&consumer, &asked)) {
        Ok(committed) => resumption.learn(&committed),
        Err(error) => {
            return warn!(%error, "can't read the offsets of the group that read these topics before: the topics are \
                                  read from their start");
        }
    }
    for (topic, partition) in asked.to_topic_map().into_keys() {
        let Some(offset) = resumption.offsets.get(&(topic.clone(), partition)) else { continue };
        let found = assigned.find_partition(&topic, partition);
        match found.map(|mut element| element.set_offset(Offset::Offset(*offset))) {
            Some(Ok(())) => info!(topic, partition, offset, "read from the former group's offset"),
            _ => warn!(topic, partition, "can't set the former group's offset"),
        }
    }
}

fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let deadline = Instant::now() + READ_PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.committed_offsets(partitions.clone(), left) {
            Err(_) if Instant::now() + PAUSE < deadline => thread::sleep(PAUSE),
            result => return result,
        }
    }
}
