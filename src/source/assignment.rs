//! The partitions that this instance owns: started when assigned, drained when revoked, dropped when lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::Handlers;
use super::consumer::Context;
use super::partition::{self, PartitionBook, RecordQueue, Stop};
use crate::receipt::Budget;

type Key = (String, i32);

/// The partitions that this instance owns.
pub(super) struct Assignment<H: Handlers> {
    owned: Mutex<HashMap<Key, Owned>>,
    /// Set once a stop has begun: what is assigned after that is left for others.
    closed: AtomicBool,
    handlers: H,
    budget: Arc<Budget>,
    runtime: Handle,
    drain_deadline: Duration,
    max_open: usize,
}

/// One owned partition: its book, and the task that reads it.
struct Owned {
    book: Arc<PartitionBook>,
    stop: Arc<Stop>,
    task: JoinHandle<()>,
}

impl<H: Handlers> Assignment<H> {
    pub(super) fn new(handlers: H, budget: Arc<Budget>, config: &super::Config) -> Self {
        Self {
            owned: Mutex::default(),
            closed: AtomicBool::new(false),
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
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        for element in assigned.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let Some(queue) = consumer.split_partition_queue(topic, partition) else {
                warn!(topic, partition, "the partition has no queue; its records come once it is assigned again");
                continue;
            };
            let book = PartitionBook::new(topic.into(), partition, self.max_open);
            let stop = Arc::new(Stop::default());
            let reading = partition::run(
                RecordQueue::<H>::new(queue),
                book.clone(),
                self.budget.clone(),
                self.handlers.for_topic(topic),
                stop.clone(),
            );
            let task = self.runtime.spawn(reading);
            self.with(|owned| owned.insert((topic.to_owned(), partition), Owned { book, stop, task }));
        }
        info!(partitions = assigned.count(), owned = self.len(), "partitions assigned");
    }

    /// Reads no further record of the revoked partitions, waits until what is under way has settled or the
    /// deadline has passed.
    pub(super) fn drain(&self, revoked: &TopicPartitionList) -> Drained {
        let partitions = self.take(revoked);
        let drained = self.runtime.block_on(drain(partitions, self.drain_deadline));
        info!(partitions = revoked.count(), owned = self.len(), left = drained.left(), "partitions revoked");
        drained
    }

    /// Ends the tasks of lost partitions: another instance may own them already, so nothing is committed and
    /// what is under way is not waited for.
    pub(super) fn lose(&self, lost: &TopicPartitionList) {
        let partitions = self.take(lost);
        self.runtime.block_on(async {
            for partition in partitions {
                partition.task.abort();
                let _ = partition.task.await;
            }
        });
        warn!(partitions = lost.count(), "partitions lost: they come again on the instance that owns them now");
    }

    /// Drains everything, for a stop.
    pub(super) async fn drain_all(&self) -> Drained {
        self.closed.store(true, Ordering::Release);
        let partitions = self.with(|owned| owned.drain().map(|(_, partition)| partition).collect());
        drain(partitions, self.drain_deadline).await
    }

    /// The offsets that have become safe since the last call; None if there are none.
    pub(super) fn take_commit(&self) -> Option<TopicPartitionList> {
        let mut offsets = TopicPartitionList::new();
        self.with(|owned| {
            for partition in owned.values() {
                if let Some(offset) = partition.book.take_commit() {
                    add(&mut offsets, &partition.book, offset);
                }
            }
        });
        (offsets.count() > 0).then_some(offsets)
    }

    /// A commit failed: its offsets go with the next one.
    pub(super) fn commit_failed(&self, offsets: &TopicPartitionList) {
        self.with(|owned| {
            for element in offsets.elements() {
                if let Some(partition) = owned.get(&(element.topic().to_owned(), element.partition())) {
                    partition.book.commit_failed();
                }
            }
        });
    }

    /// How many partitions are owned.
    pub(super) fn len(&self) -> usize {
        self.with(|owned| owned.len())
    }

    /// Records read and not yet part of a settled prefix, over all owned partitions.
    pub(super) fn open_records(&self) -> usize {
        self.with(|owned| owned.values().map(|partition| partition.book.open_records()).sum())
    }

    /// The next offset to commit of an owned partition, for the lag.
    pub(super) fn safe_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.with(|owned| owned.get(&(topic.to_owned(), partition))?.book.safe_offset())
    }

    fn take(&self, partitions: &TopicPartitionList) -> Vec<Owned> {
        self.with(|owned| {
            let elements = partitions.elements();
            elements.iter().filter_map(|e| owned.remove(&(e.topic().to_owned(), e.partition()))).collect()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Key, Owned>) -> T) -> T {
        act(&mut self.owned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Partitions that read no further, and how far they got.
pub struct Drained {
    books: Vec<Arc<PartitionBook>>,
}

impl Drained {
    /// The offsets that may be committed by now.
    pub(super) fn offsets(&self) -> TopicPartitionList {
        let mut offsets = TopicPartitionList::new();
        for book in &self.books {
            if let Some(offset) = book.safe_offset() {
                add(&mut offsets, book, offset);
            }
        }
        offsets
    }

    /// Records read whose offsets may not be committed by now; they come again.
    pub fn left(&self) -> usize {
        self.books.iter().map(|book| book.open_records()).sum()
    }
}

async fn drain(partitions: Vec<Owned>, deadline: Duration) -> Drained {
    let deadline = Instant::now() + deadline;
    partitions.iter().for_each(|partition| partition.stop.set());
    let mut books = Vec::with_capacity(partitions.len());
    for mut partition in partitions {
        if timeout_at(deadline, &mut partition.task).await.is_err() {
            // The task still waits for room downstream: its record was not handed on and comes again.
            partition.task.abort();
            let _ = partition.task.await;
        }
        let _ = timeout_at(deadline, partition.book.idle()).await;
        books.push(partition.book);
    }
    Drained { books }
}

fn add(offsets: &mut TopicPartitionList, book: &PartitionBook, offset: i64) {
    offsets
        .add_partition_offset(&book.topic, book.partition, Offset::Offset(offset))
        .expect("a partition is in the list once, and the offset is not negative");
}
