//! Commits: what the group is told of the owned partitions, and what it tells whoever is assigned them next.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::Handlers;
use super::assignment::Key;
use super::completion::{CommitMetadata, Mark};
use super::consumer::Context;
use super::partition::{Commit, PartitionState};
use crate::kafka::errors;
use crate::lifecycle::Stopping;

/// How long the last commit is tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long newly assigned partitions wait for what was committed with their offsets. Their coordinator has just answered, so this is
/// for one that moves or restarts at this very moment.
const READ_PATIENCE: Duration = Duration::from_secs(3);

/// The pause before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a commit takes before that is told.
const SLOW: Duration = Duration::from_secs(3);

/// How many commits fail one after the other before that is told: a few do in a rebalance.
const FAILED_OFTEN: u32 = 10;
/// How many fail in a minute at most, since there is a pause after each: so often it is told again.
const FAILED_IN_A_MINUTE: u32 = 600;

/// A broker keeps all offsets of one commit in one batch of `__consumer_offsets`, of 1 MiB by default, and refuses the
/// whole commit when they do not fit. This many have room with the largest maps.
const PARTITIONS_IN_A_COMMIT: usize = 100;

/// One commit at a time.
#[derive(Default)]
pub(super) struct Commits {
    committing: Mutex<()>,
    /// The broker takes no metadata of our size.
    without_notes: AtomicBool,
}

/// The right to commit. Held from choosing what to commit to its end, and until partitions that go to others are struck
/// off: a commit that was overtaken by a later one, or by the partition's next owner, would put the group back.
pub(super) struct CommitPermit<'a> {
    commits: &'a Commits,
    _committing: MutexGuard<'a, ()>,
}

/// What is to be committed of a partition.
type Due<'a> = (&'a Arc<PartitionState>, Commit);

impl Commits {
    /// Waits for a commit under way.
    pub(super) fn turn(&self) -> CommitPermit<'_> {
        CommitPermit { commits: self, _committing: self.committing.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl CommitPermit<'_> {
    /// Commits what Kafka does not know yet of these partitions.
    pub(super) fn commit<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        books: &[Arc<PartitionState>],
    ) -> KafkaResult<()> {
        let mut due: Vec<_> = books.iter().filter_map(|book| Some((book, book.due()?))).collect();
        due.sort_by(|(one, _), (other, _)| one.topic.cmp(&other.topic));
        let results = due.chunks(PARTITIONS_IN_A_COMMIT).map(|some| self.commit_together(consumer, some));
        // Each is tried, whatever became of the one before.
        results.fold(Ok(()), Result::and)
    }

    fn commit_together<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, due: &[Due<'_>]) -> KafkaResult<()> {
        let result = self.commit_with_notes(consumer, due);
        if let Some(error) = result.as_ref().err().filter(|error| is_of_a_topic(error)) {
            let mut topics = due.chunk_by(|(one, _), (other, _)| one.topic == other.topic);
            if topics.clone().count() > 1 {
                // The others may have been taken, and their partitions must not wait for one that never will be.
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

    /// With notes, as long as the broker takes them.
    fn commit_with_notes<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, due: &[Due<'_>]) -> KafkaResult<()> {
        let without_notes = &self.commits.without_notes;
        let result = send(consumer, due, !without_notes.load(Ordering::Relaxed));
        let code = result.as_ref().err().and_then(|error| error.rdkafka_error_code());
        if code != Some(RDKafkaErrorCode::OffsetMetadataTooLarge) {
            return result;
        }
        warn!(
            "the broker's offset.metadata.max.bytes is less than its default, 4096: after a crash, records that had \
             settled behind one that had not are sent again, and a topic that is made anew is not known for another"
        );
        without_notes.store(true, Ordering::Relaxed);
        send(consumer, due, false)
    }
}

/// Whether a broker says this of some topics of a commit, whatever it makes of the others.
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

/// Commits what has settled, again and again, and at once when told to `hurry`. librdkafka tells the result of a commit only
/// to who waits for it (rdkafka sets no `offset_commit_cb`), so each one is waited for; otherwise one that failed in a
/// rebalance would never be made up for once nothing more settles.
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
            // One that fails may do so at once, and again.
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
                warn!(of, "a commit has no answer yet: partitions wait with it once kafka.max_uncommitted is reached");
                commit.await
            }
        };
        match committed {
            Ok(Ok(())) => failed = 0,
            Ok(Err(error)) => {
                failed += 1;
                debug!(%error, "a commit failed; its offsets go with the next one");
                if failed % FAILED_IN_A_MINUTE == FAILED_OFTEN {
                    let of = consumer.context().name;
                    let error = errors::told(&error);
                    warn!(of, failed, error, "commits fail: partitions wait once kafka.max_uncommitted is reached");
                }
                tick.reset_after(every.min(PAUSE));
            }
            Err(error) => error!(%error, "a commit ended early"),
        }
    }
}

/// Commits before leaving what is still owned. The group may be rebalancing, because another member has just
/// left too, or its coordinator may be moving: both pass while the callbacks are still served. Whether it went
/// through is in the books.
pub(super) fn commit_last<H: Handlers>(consumer: &BaseConsumer<Context<H>>) {
    let deadline = Instant::now() + PATIENCE;
    let context = consumer.context();
    loop {
        let turn = context.commits.turn();
        let Err(error) = turn.commit(consumer, &context.assignment.books()) else { return };
        drop(turn);
        // What is refused for its topic is so however often it is tried.
        if is_of_a_topic(&error) || Instant::now() > deadline {
            return warn!(%error, "the last commit failed");
        }
        thread::sleep(PAUSE);
    }
}

/// What the group knows of partitions that have just been assigned.
#[derive(Default)]
pub(super) struct Resumption {
    /// The Kafka cluster's id; empty if it tells none.
    pub(super) cluster: Arc<str>,
    /// The committed offsets.
    pub(super) offsets: HashMap<Key, i64>,
    /// Partitions of which the group has none.
    pub(super) uncommitted: Vec<Key>,
    /// What was committed with their offsets.
    pub(super) notes: HashMap<Key, CommitMetadata>,
}

impl Resumption {
    /// Takes in what a group has committed.
    fn learn(&mut self, committed: &TopicPartitionList) {
        for element in committed.elements().iter().filter(|element| element.error().is_ok()) {
            let key = (element.topic().to_owned(), element.partition());
            match element.offset() {
                Offset::Offset(offset) => drop(self.offsets.insert(key.clone(), offset)),
                _ => self.uncommitted.push(key.clone()),
            }
            // Brokers keep metadata as text, so that of another program is readable too, though it is no note.
            if let Some(note) = CommitMetadata::decode(&self.cluster, element.metadata()) {
                self.notes.insert(key, note);
            }
        }
    }

    /// What the group knows of a partition is of another log.
    pub(super) fn forget(&mut self, key: &Key) {
        self.offsets.remove(key);
        self.notes.remove(key);
    }

    /// A record of the log that each partition was of when its offset was committed.
    pub(super) fn logs(&self) -> HashMap<Key, Mark> {
        self.notes.iter().map(|(key, note)| (key.clone(), note.log)).collect()
    }
}

/// Reads what was committed with the offsets of assigned partitions. It may block in the callback of a rebalance:
/// librdkafka's own thread sends the request and takes the answer. Without an answer nothing is taken for settled.
pub(super) fn resumption<C: ConsumerContext>(consumer: &BaseConsumer<C>, assigned: &TopicPartitionList) -> Resumption {
    let cluster: Arc<str> = consumer.client().fetch_cluster_id(READ_PATIENCE).unwrap_or_default().into();
    let mut resumption = Resumption { cluster, ..Resumption::default() };
    match committed(consumer, assigned) {
        Ok(committed) => resumption.learn(&committed),
        Err(error) => warn!(%error, "the group does not tell what had settled behind its offsets: that is sent again"),
    }
    let partitions = resumption.notes.values().filter(|note| note.completion.is_some()).count();
    if partitions > 0 {
        info!(partitions, "records had settled behind the committed offsets and are passed over");
    }
    resumption
}

/// Where a group that read these topics before has left off, for partitions of which this one has committed nothing.
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
            return warn!(%error, "the group that read these topics before does not tell where it left off: they are \
                                  read from their start");
        }
    }
    for (topic, partition) in asked.to_topic_map().into_keys() {
        let Some(offset) = resumption.offsets.get(&(topic.clone(), partition)) else { continue };
        let found = assigned.find_partition(&topic, partition);
        match found.map(|mut element| element.set_offset(Offset::Offset(*offset))) {
            Some(Ok(())) => info!(topic, partition, offset, "read on from where the group before has left off"),
            _ => warn!(topic, partition, "it can't be said from where on the partition is read"),
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
