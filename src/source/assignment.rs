//! The partitions that this instance owns: started when assigned, drained when revoked, dropped when lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::commits::Resumption;
use super::consumer::Context;
use super::fetched::FetchState;
use super::ledger::Ledger;
use super::partition::{self, PartitionState, ReadAheadLimits};
use super::records::RecordQueue;
use super::reread::Rereader;
use super::{Handlers, Reads, backlog, probe};
use crate::lifecycle::{self, Readiness, Stop};
use crate::receipt::Budget;

/// Records of one partition that may wait in lines, in some 100 bytes each.
const WAITING: usize = 100_000;

/// A partition: its topic and number.
pub(super) type Key = (String, i32);

/// The partitions that this instance owns.
pub(super) struct Assignment<H: Handlers> {
    state: Mutex<AssignmentState>,
    handlers: H,
    budget: Arc<Budget>,
    runtime: Handle,
    drain_deadline: Duration,
    limits: ReadAheadLimits,
    hurry: Arc<Notify>,
    rereader: Arc<Rereader>,
    /// The settings of clients that look for what can be read.
    looks: Arc<ClientConfig>,
    readiness: Readiness,
}

#[derive(Default)]
struct AssignmentState {
    owned: HashMap<Key, Owned>,
    /// Set once a stop has begun, to when it gives up waiting: what is assigned after that is left for others.
    stop_by: Option<Instant>,
}

/// One owned partition: its book, and the task that reads it.
#[derive(Clone)]
struct Owned {
    book: Arc<PartitionState>,
    stop: Arc<Stop>,
    task: AbortHandle,
}

impl<H: Handlers> Assignment<H> {
    /// `hurry` is told when the next commit is not to wait for its turn.
    pub(super) fn new(handlers: H, budget: Arc<Budget>, config: &super::Config, hurry: Arc<Notify>) -> Self {
        let client: ClientConfig = config.client.clone().into_iter().collect();
        Self {
            state: Mutex::default(),
            handlers,
            budget,
            runtime: Handle::current(),
            drain_deadline: config.drain_deadline,
            limits: ReadAheadLimits { open: config.max_open_records, uncommitted: config.max_uncommitted },
            hurry,
            rereader: Rereader::new(&client),
            looks: probe::settings(&client),
            readiness: config.readiness.clone(),
        }
    }

    /// Starts a task for each assigned partition. Called before Kafka's client begins to fetch them, so that
    /// no record goes to the client's common queue. `resumption` is what the group knows of them.
    pub(super) fn start(
        &self,
        consumer: &Arc<BaseConsumer<Context<H>>>,
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

    fn start_one(
        &self,
        consumer: &Arc<BaseConsumer<Context<H>>>,
        key: &Key,
        resumption: &mut Resumption,
    ) -> Option<Owned> {
        let (topic, partition) = (key.0.as_str(), key.1);
        let Some(reads) = self.handlers.for_partition(topic, partition) else {
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
        let ledger = Ledger::after(resumption.notes.remove(key));
        let (cluster, hurry) = (resumption.cluster.clone(), self.hurry.clone());
        let limits = match &reads {
            Reads::InTurn(_) => self.limits,
            Reads::InLines(_) => ReadAheadLimits { open: self.limits.open.min(WAITING), ..self.limits },
        };
        let book = PartitionState::new(topic.into(), partition, cluster, ledger, limits, hurry);
        let (stop, stopping) = lifecycle::stop();
        let place = (book.clone(), resumption.offsets.get(key).copied());
        let records = RecordQueue::<H>::new(queue, consumer.clone(), place, self.looks.clone(), self.readiness.clone());
        let budget = self.budget.clone();
        let task = match reads {
            Reads::InTurn(handler) => {
                self.runtime.spawn(partition::run(stopping, book.clone(), records, budget, handler))
            }
            Reads::InLines(backlog) => {
                let rereader = self.rereader.clone();
                self.runtime.spawn(backlog::run(stopping, book.clone(), records, rereader, budget, backlog))
            }
        };
        let task = task.abort_handle();
        Some(Owned { book, stop: Arc::new(stop), task })
    }

    /// Reads no further record of the revoked partitions, waits until what is under way has settled or the
    /// deadline has passed. Returns their books, to be committed once more. The partitions stay owned until they are
    /// struck off, so that what settles meanwhile is committed.
    pub(super) fn drain(&self, revoked: &TopicPartitionList) -> Vec<Arc<PartitionState>> {
        let (partitions, stop_by) = self.with(|state| {
            let revoked = keys(revoked).filter_map(|key| state.owned.get(&key).cloned());
            (revoked.collect::<Vec<_>>(), state.stop_by)
        });
        let deadline = stop_by.unwrap_or_else(|| Instant::now() + self.drain_deadline);
        if stop_by.is_none() && partitions.iter().any(|partition| partition.book.is_under_way()) {
            let (count, within) = (revoked.count(), self.drain_deadline);
            info!(partitions = count, ?within, "partitions are drained, to be given up");
        }
        self.runtime.block_on(drain(&partitions, deadline));
        partitions.iter().for_each(|partition| partition.book.give_up());
        partitions.into_iter().map(|partition| partition.book).collect()
    }

    /// Takes drained partitions off those that are owned.
    pub(super) fn strike_off(&self, revoked: &TopicPartitionList) {
        let left: usize = self.take(revoked).iter().map(|partition| partition.book.unsettled()).sum();
        info!(partitions = revoked.count(), owned = self.len(), left, "partitions revoked");
    }

    /// Ends the tasks of lost partitions: another instance may own them already, so nothing is committed and
    /// what is under way is not waited for.
    pub(super) fn lose(&self, lost: &TopicPartitionList) {
        let partitions = self.take(lost);
        partitions.iter().for_each(|partition| partition.book.give_up());
        self.runtime.block_on(drain(&partitions, Instant::now()));
        warn!(partitions = lost.count(), "partitions lost: they come again on the instance that owns them now");
    }

    /// Drains everything, for a stop, and returns the books of it all. The partitions stay owned, so that what
    /// settles is committed and one that is taken away meanwhile is drained like any other.
    pub(super) async fn drain_all(&self) -> Vec<Arc<PartitionState>> {
        let deadline = Instant::now() + self.drain_deadline;
        let partitions: Vec<Owned> = self.with(|state| {
            state.stop_by = Some(deadline);
            state.owned.values().cloned().collect()
        });
        drain(&partitions, deadline).await;
        partitions.into_iter().map(|partition| partition.book).collect()
    }

    /// The books of the owned partitions.
    pub(super) fn books(&self) -> Vec<Arc<PartitionState>> {
        self.with(|state| state.owned.values().map(|partition| partition.book.clone()).collect())
    }

    /// How many partitions are owned.
    pub(super) fn len(&self) -> usize {
        self.with(|state| state.owned.len())
    }

    /// What the client's statistics say of an owned partition.
    pub(super) fn fetched(&self, topic: &str, partition: i32, state: FetchState) {
        let book = self.with(|owned| Some(owned.owned.get(&(topic.to_owned(), partition))?.book.clone()));
        if let Some(book) = book {
            book.fetched(state);
        }
    }

    /// The next offset to commit of an owned partition, for the lag: None for one that is not owned, and inside
    /// it None until a record was read.
    pub(super) fn position(&self, topic: &str, partition: i32) -> Option<Option<i64>> {
        self.with(|state| Some(state.owned.get(&(topic.to_owned(), partition))?.book.safe_offset()))
    }

    fn take(&self, partitions: &TopicPartitionList) -> Vec<Owned> {
        let taken: Vec<Owned> =
            self.with(|state| keys(partitions).filter_map(|key| state.owned.remove(&key)).collect());
        // Its new owner tells the lag from now on.
        taken.iter().for_each(|partition| lag(&partition.book.topic, partition.book.partition).set(0.0));
        taken
    }

    fn with<T>(&self, act: impl FnOnce(&mut AssignmentState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn keys(partitions: &TopicPartitionList) -> impl Iterator<Item = Key> {
    let elements = partitions.elements().into_iter();
    elements.map(|element| (element.topic().to_owned(), element.partition()))
}

/// How far a partition's commits are behind its end.
pub(super) fn lag(topic: &str, partition: i32) -> metrics::Gauge {
    metrics::gauge!("outhook_lag_records", "topic" => topic.to_owned(), "partition" => partition.to_string())
}

/// Stops the reading, and waits until what is under way has settled or the deadline has passed.
async fn drain(partitions: &[Owned], deadline: Instant) {
    partitions.iter().for_each(|partition| {
        partition.book.drain();
        partition.stop.now();
    });
    for Owned { book, stop, task } in partitions {
        if timeout_at(deadline, stop.obeyed()).await.is_err() {
            // The task still waits for room downstream: its record was not handed on and comes again.
            task.abort();
            stop.obeyed().await;
        }
        let _ = timeout_at(deadline, book.drained()).await;
    }
}
