//! The partitions that this instance owns: started when assigned, drained when revoked, dropped when lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::Handlers;
use super::consumer::Context;
use super::partition::{self, PartitionBook, RecordQueue, Stop};
use crate::receipt::Budget;

type Key = (String, i32);

/// The partitions that this instance owns.
pub(super) struct Assignment<H: Handlers> {
    state: Mutex<State>,
    handlers: H,
    budget: Arc<Budget>,
    runtime: Handle,
    drain_deadline: Duration,
    max_open: usize,
}

#[derive(Default)]
struct State {
    owned: HashMap<Key, Owned>,
    /// Set once a stop has begun: what is assigned after that is left for others.
    closed: bool,
}

/// One owned partition: its book, and the task that reads it.
#[derive(Clone)]
struct Owned {
    book: Arc<PartitionBook>,
    stop: Arc<Stop>,
    task: AbortHandle,
}

impl<H: Handlers> Assignment<H> {
    pub(super) fn new(handlers: H, budget: Arc<Budget>, config: &super::Config) -> Self {
        Self {
            state: Mutex::default(),
            handlers,
            budget,
            runtime: Handle::current(),
            drain_deadline: config.drain_deadline,
            max_open: config.max_open_records,
        }
    }

    /// Starts a task for each assigned partition. Called before Kafka's client begins to fetch them, so that
    /// no record goes to the client's common queue.
    pub(super) fn start(&self, consumer: &Arc<BaseConsumer<Context<H>>>, assigned: &TopicPartitionList) {
        self.with(|state| {
            if state.closed {
                return;
            }
            for element in assigned.elements() {
                let (topic, partition) = (element.topic(), element.partition());
                if let Some(started) = self.start_one(consumer, topic, partition) {
                    state.owned.insert((topic.to_owned(), partition), started);
                }
            }
        });
        info!(partitions = assigned.count(), owned = self.len(), "partitions assigned");
    }

    fn start_one(&self, consumer: &Arc<BaseConsumer<Context<H>>>, topic: &str, partition: i32) -> Option<Owned> {
        let Some(handler) = self.handlers.for_topic(topic) else {
            error!(
                topic,
                partition, "no source reads this topic, though its pattern matches for Kafka: it is left unread"
            );
            return None;
        };
        let Some(queue) = consumer.split_partition_queue(topic, partition) else {
            warn!(topic, partition, "the partition has no queue; its records come once it is assigned again");
            return None;
        };
        let book = PartitionBook::new(topic.into(), partition, self.max_open);
        let stop = Arc::new(Stop::default());
        let (reader, budget, stopped) = (book.reader(), self.budget.clone(), stop.clone());
        let records = RecordQueue::<H>::new(queue);
        let reading = async move { partition::run(records, &reader, budget, handler, stopped).await };
        let task = self.runtime.spawn(reading).abort_handle();
        Some(Owned { book, stop, task })
    }

    /// Reads no further record of the revoked partitions, waits until what is under way has settled or the
    /// deadline has passed. Returns the offsets to commit.
    pub(super) fn drain(&self, revoked: &TopicPartitionList) -> TopicPartitionList {
        let partitions = self.take(revoked);
        self.runtime.block_on(drain(&partitions, self.drain_deadline));
        let left: usize = partitions.iter().map(|partition| partition.book.open_records()).sum();
        info!(partitions = revoked.count(), owned = self.len(), left, "partitions revoked");
        offsets(partitions.iter().filter_map(|partition| Some((&*partition.book, partition.book.safe_offset()?))))
    }

    /// Ends the tasks of lost partitions: another instance may own them already, so nothing is committed and
    /// what is under way is not waited for.
    pub(super) fn lose(&self, lost: &TopicPartitionList) {
        let partitions = self.take(lost);
        self.runtime.block_on(drain(&partitions, Duration::ZERO));
        warn!(partitions = lost.count(), "partitions lost: they come again on the instance that owns them now");
    }

    /// Drains everything, for a stop. The partitions stay owned, so that what settles is committed and one that
    /// is taken away meanwhile is drained like any other.
    pub(super) async fn drain_all(&self) {
        let partitions: Vec<Owned> = self.with(|state| {
            state.closed = true;
            state.owned.values().cloned().collect()
        });
        drain(&partitions, self.drain_deadline).await;
    }

    /// The offsets that may be committed by now, of all owned partitions.
    pub(super) fn safe_offsets(&self) -> TopicPartitionList {
        self.with(|state| {
            offsets(
                state.owned.values().filter_map(|partition| Some((&*partition.book, partition.book.safe_offset()?))),
            )
        })
    }

    /// The offsets that have become safe since the last call.
    pub(super) fn take_commit(&self) -> TopicPartitionList {
        self.with(|state| {
            offsets(
                state.owned.values().filter_map(|partition| Some((&*partition.book, partition.book.take_commit()?))),
            )
        })
    }

    /// A commit failed: its offsets go with the next one.
    pub(super) fn commit_failed(&self, offsets: &TopicPartitionList) {
        self.with(|state| {
            for element in offsets.elements() {
                if let Some(partition) = state.owned.get(&(element.topic().to_owned(), element.partition())) {
                    partition.book.commit_failed();
                }
            }
        });
    }

    /// How many partitions are owned.
    pub(super) fn len(&self) -> usize {
        self.with(|state| state.owned.len())
    }

    /// Records read and not yet part of a settled prefix, over all owned partitions.
    pub(super) fn open_records(&self) -> usize {
        self.with(|state| state.owned.values().map(|partition| partition.book.open_records()).sum())
    }

    /// The next offset to commit of an owned partition, for the lag: None for one that is not owned, and inside
    /// it None until a record has settled.
    pub(super) fn position(&self, topic: &str, partition: i32) -> Option<Option<i64>> {
        self.with(|state| Some(state.owned.get(&(topic.to_owned(), partition))?.book.safe_offset()))
    }

    fn take(&self, partitions: &TopicPartitionList) -> Vec<Owned> {
        let elements = partitions.elements();
        let keys = elements.iter().map(|element| (element.topic().to_owned(), element.partition()));
        let taken: Vec<Owned> = self.with(|state| keys.filter_map(|key| state.owned.remove(&key)).collect());
        // Its new owner tells the lag from now on.
        taken.iter().for_each(|partition| lag(&partition.book.topic, partition.book.partition).set(0.0));
        taken
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How far a partition's commits are behind its end.
pub(super) fn lag(topic: &str, partition: i32) -> metrics::Gauge {
    metrics::gauge!("outhook_lag_records", "topic" => topic.to_owned(), "partition" => partition.to_string())
}

/// Stops the reading, and waits until what is under way has settled or the deadline has passed.
async fn drain(partitions: &[Owned], deadline: Duration) {
    let deadline = Instant::now() + deadline;
    partitions.iter().for_each(|partition| partition.stop.set());
    for Owned { book, task, .. } in partitions {
        if timeout_at(deadline, book.unread()).await.is_err() {
            // The task still waits for room downstream: its record was not handed on and comes again.
            task.abort();
            book.unread().await;
        }
        let _ = timeout_at(deadline, book.idle()).await;
    }
}

fn offsets<'b>(books: impl Iterator<Item = (&'b PartitionBook, i64)>) -> TopicPartitionList {
    let mut offsets = TopicPartitionList::new();
    for (book, offset) in books {
        offsets
            .add_partition_offset(&book.topic, book.partition, Offset::Offset(offset))
            .expect("a partition is in the list once, and the offset is not negative");
    }
    offsets
}
