//! The partitions that this instance owns: starts them when assigned, drains them when revoked, drops them when lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::fetched::FetchState;
use super::ledger::Ledger;
use super::partition::{PartitionState, ReadAheadLimits};
use super::partition_key::Key;
use super::records::RecordQueue;
use super::reread::Rereader;
use super::resumption::Resumption;
use super::{Handlers, Reads, backlog, in_turn, probe};
use crate::kafka::ClientConfig;
use crate::lifecycle::Readiness;
use crate::receipt::Budget;

/// Max records of one partition that may wait in lines. Each takes about 100 bytes.
const WAITING: usize = 100_000;

/// The partitions that this instance owns.
pub(super) struct Assignment<H: Handlers> {
    state: Mutex<AssignmentState>,
    handlers: H,
    budget: Arc<Budget>,
    runtime: Handle,
    drain_deadline: Duration,
    limits: ReadAheadLimits,
    commit_now: Arc<Notify>,
    rereader: Arc<Rereader>,
    /// The settings of clients that probe which offsets can be read.
    looks: Arc<ClientConfig>,
    readiness: Readiness,
}

#[derive(Default)]
struct AssignmentState {
    owned: HashMap<Key, Owned>,
    /// Set once a stop has begun: its drain deadline. Partitions assigned after that are not started.
    stop_by: Option<Instant>,
}

/// One owned partition: its state, and the task that reads it.
#[derive(Clone)]
struct Owned {
    book: Arc<PartitionState>,
    stop: CancellationToken,
    task: AbortHandle,
    /// Tracks the task: its wait ends when the task's queues are dropped, too.
    tracker: TaskTracker,
}

impl<H: Handlers> Assignment<H> {
    /// `commit_now` is notified when the next commit must not wait for its interval.
    pub(super) fn new(handlers: H, budget: Arc<Budget>, config: &super::Config, commit_now: Arc<Notify>) -> Self {
        let client: ClientConfig = config.client.clone().into_iter().collect();
        Self {
            state: Mutex::default(),
            handlers,
            budget,
            runtime: Handle::current(),
            drain_deadline: config.drain_deadline,
            limits: ReadAheadLimits { open: config.max_open_records, uncommitted: config.max_uncommitted },
            commit_now,
            rereader: Rereader::new(&client),
            looks: probe::settings(&client),
            readiness: config.readiness.clone(),
        }
    }

    /// Starts a task for each assigned partition. Must be called before Kafka's client begins to fetch them:
    /// otherwise records would go to the client's common queue. `resumption` has the group's offsets and metadata.
    pub(super) fn start<C: ConsumerContext + 'static>(
        &self,
        consumer: &Arc<BaseConsumer<C>>,
        assigned: &TopicPartitionList,
        mut resumption: Resumption,
    ) {
        self.with(|state| {
            if state.stop_by.is_some() {
                return;
            }
            for element in assigned.elements() {
                let key = (element.topic().to_owned(), element.partition());
                if let Some(started) = self.start_one(consumer, &key, &mut resumption) {
                    state.owned.insert(key, started);
                }
            }
        });
        info!(partitions = assigned.count(), owned = self.len(), "partitions assigned");
    }

    fn start_one<C: ConsumerContext + 'static>(
        &self,
        consumer: &Arc<BaseConsumer<C>>,
        key: &Key,
        resumption: &mut Resumption,
    ) -> Option<Owned> {
        let (topic, partition) = (key.0.as_str(), key.1);
        let Some(reads) = self.handlers.for_partition(topic, partition) else {
            error!(
                topic,
                partition, "no source reads this topic, although the pattern matches it in Kafka: it is not read"
            );
            return None;
        };
        let Some(queue) = consumer.split_partition_queue(topic, partition) else {
            warn!(topic, partition, "the partition has no queue; it is read after its next assignment");
            return None;
        };
        let ledger = Ledger::after(resumption.notes.remove(key));
        let (cluster, commit_now) = (resumption.cluster.clone(), self.commit_now.clone());
        let limits = match &reads {
            Reads::InTurn(_) => self.limits,
            Reads::InLines(_) => ReadAheadLimits { open: self.limits.open.min(WAITING), ..self.limits },
        };
        let book = PartitionState::new(topic.into(), partition, cluster, ledger, limits, commit_now);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let state = (book.clone(), resumption.offsets.get(key).copied());
        let records = RecordQueue::new(queue, consumer.clone(), state, self.looks.clone(), self.readiness.clone());
        let budget = self.budget.clone();
        let task = match reads {
            Reads::InTurn(handler) => {
                tracker.spawn_on(in_turn::run(stop.clone(), book.clone(), records, budget, handler), &self.runtime)
            }
            Reads::InLines(backlog) => {
                let rereader = self.rereader.clone();
                let task = backlog::run(stop.clone(), book.clone(), records, rereader, budget, backlog);
                tracker.spawn_on(task, &self.runtime)
            }
        };
        tracker.close();
        Some(Owned { book, stop, task: task.abort_handle(), tracker })
    }

    /// Stops reading the revoked partitions, and waits until open records have settled or the deadline has passed.
    /// Returns the partitions' states for a last commit. The partitions stay owned until [`Assignment::strike_off`],
    /// so records that settle meanwhile are committed.
    pub(super) fn drain(&self, revoked: &TopicPartitionList) -> Vec<Arc<PartitionState>> {
        let (partitions, stop_by) = self.with(|state| {
            let revoked = keys(revoked).filter_map(|key| state.owned.get(&key).cloned());
            (revoked.collect::<Vec<_>>(), state.stop_by)
        });
        let deadline = stop_by.unwrap_or_else(|| Instant::now() + self.drain_deadline);
        if stop_by.is_none() && partitions.iter().any(|partition| partition.book.is_under_way()) {
            let (count, within) = (revoked.count(), self.drain_deadline);
            info!(partitions = count, ?within, "partitions are drained before they are revoked");
        }
        self.runtime.block_on(drain(&partitions, deadline));
        partitions.iter().for_each(|partition| partition.book.revoke());
        partitions.into_iter().map(|partition| partition.book).collect()
    }

    /// Removes drained partitions from the owned ones.
    pub(super) fn strike_off(&self, revoked: &TopicPartitionList) {
        let left: usize = self.take(revoked).iter().map(|partition| partition.book.unsettled()).sum();
        info!(partitions = revoked.count(), owned = self.len(), left, "partitions revoked");
    }

    /// Ends the tasks of lost partitions. Another instance may already own them, so nothing is committed and open
    /// records are not awaited.
    pub(super) fn lose(&self, lost: &TopicPartitionList) {
        let partitions = self.take(lost);
        partitions.iter().for_each(|partition| partition.book.revoke());
        self.runtime.block_on(drain(&partitions, Instant::now()));
        warn!(partitions = lost.count(), "partitions lost: the new owner reads their open records again");
    }

    /// Drains all partitions for a stop, and returns their states. The partitions stay owned, so records that settle
    /// are committed, and a partition that is revoked meanwhile is drained like any other.
    pub(super) async fn drain_all(&self) -> Vec<Arc<PartitionState>> {
        let deadline = Instant::now() + self.drain_deadline;
        let partitions: Vec<Owned> = self.with(|state| {
            state.stop_by = Some(deadline);
            state.owned.values().cloned().collect()
        });
        drain(&partitions, deadline).await;
        partitions.into_iter().map(|partition| partition.book).collect()
    }

    /// The states of the owned partitions.
    pub(super) fn books(&self) -> Vec<Arc<PartitionState>> {
        self.with(|state| state.owned.values().map(|partition| partition.book.clone()).collect())
    }

    /// Number of owned partitions.
    pub(super) fn len(&self) -> usize {
        self.with(|state| state.owned.len())
    }

    /// Updates the fetch state of an owned partition from the client's statistics.
    pub(super) fn fetched(&self, topic: &str, partition: i32, state: FetchState) {
        let book = self.with(|owned| Some(owned.owned.get(&(topic.to_owned(), partition))?.book.clone()));
        if let Some(book) = book {
            book.fetched(state);
        }
    }

    /// The next offset to commit of an owned partition, for the lag. None if the partition is not owned; Some(None)
    /// until a record has been read.
    pub(super) fn position(&self, topic: &str, partition: i32) -> Option<Option<i64>> {
        self.with(|state| Some(state.owned.get(&(topic.to_owned(), partition))?.book.safe_offset()))
    }

    fn take(&self, partitions: &TopicPartitionList) -> Vec<Owned> {
        let taken: Vec<Owned> =
            self.with(|state| keys(partitions).filter_map(|key| state.owned.remove(&key)).collect());
        // The new owner reports the lag from now on.
        taken.iter().for_each(|partition| lag(&partition.book.topic, partition.book.partition).set(0.0));
        taken
    }

    fn with<T>(&self, act: impl FnOnce(&mut AssignmentState) -> T) -> T {
        act(&mut self.state.lock())
    }
}

fn keys(partitions: &TopicPartitionList) -> impl Iterator<Item = Key> {
    let elements = partitions.elements().into_iter();
    elements.map(|element| (element.topic().to_owned(), element.partition()))
}

/// The gauge of a partition's lag: records between the committed offset and the end.
pub(super) fn lag(topic: &str, partition: i32) -> metrics::Gauge {
    metrics::gauge!("outhook_lag_records", "topic" => topic.to_owned(), "partition" => partition.to_string())
}

/// Stops reading, and waits until open records have settled or the deadline has passed.
async fn drain(partitions: &[Owned], deadline: Instant) {
    partitions.iter().for_each(|partition| {
        partition.book.drain();
        partition.stop.cancel();
    });
    for Owned { book, task, tracker, .. } in partitions {
        if timeout_at(deadline, tracker.wait()).await.is_err() {
            // The task still waits for room downstream. Its record was not processed and is read again.
            task.abort();
            tracker.wait().await;
        }
        let _ = timeout_at(deadline, book.drained()).await;
    }
}
