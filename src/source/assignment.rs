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

use super::ledger::Ledger;
use super::partition::{PartitionState, ReadAheadLimits};
use super::partition_key::PartitionKey;
use super::records::RecordQueue;
use super::resumption::Resumption;
use super::{HandlerFactory, ReadMode, backlog, probe, sequential};
use crate::kafka::ClientConfig;
use crate::lifecycle::Readiness;
use crate::receipt::Budget;
use crate::source::fetch_progress::FetchState;
use crate::source::rereader::Rereader;

/// Max records of one partition that may wait in lines. Each takes about 100 bytes.
const MAX_WAITING_RECORDS: usize = 100_000;

/// The partitions that this instance owns.
pub(super) struct Assignment<H: HandlerFactory> {
    state: Mutex<AssignmentState>,
    handlers: H,
    budget: Arc<Budget>,
    runtime: Handle,
    drain_timeout: Duration,
    limits: ReadAheadLimits,
    commit_now: Arc<Notify>,
    rereader: Arc<Rereader>,
    /// The settings of clients that probe which offsets can be read.
    probe_settings: Arc<ClientConfig>,
    readiness: Readiness,
}

#[derive(Default)]
struct AssignmentState {
    owned: HashMap<PartitionKey, OwnedPartition>,
    /// Set once a stop has begun: its drain deadline. Partitions assigned after that are not started.
    stop_deadline: Option<Instant>,
}

/// One owned partition: its state, and the task that reads it.
#[derive(Clone)]
struct OwnedPartition {
    partition_state: Arc<PartitionState>,
    stop: CancellationToken,
    task: AbortHandle,
    /// Tracks the task: its wait ends when the task's queues are dropped, too.
    tracker: TaskTracker,
}

impl<H: HandlerFactory> Assignment<H> {
    /// `commit_now` is notified when the next commit must not wait for its interval.
    pub(super) fn new(handlers: H, budget: Arc<Budget>, config: &super::Config, commit_now: Arc<Notify>) -> Self {
        let client: ClientConfig = config.client.clone().into_iter().collect();
        Self {
            state: Mutex::default(),
            handlers,
            budget,
            runtime: Handle::current(),
            drain_timeout: config.drain_deadline,
            limits: ReadAheadLimits {
                max_open_records: config.max_open_records,
                max_uncommitted: config.max_uncommitted,
            },
            commit_now,
            rereader: Rereader::new(&client),
            probe_settings: probe::settings(&client),
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
            if state.stop_deadline.is_some() {
                return;
            }
            for element in assigned.elements() {
                let key = (element.topic().to_owned(), element.partition());
                if let Some(started) = self.start_one(consumer, &key, &mut resumption) {
                    // A replaced partition would still be read: a dropped token stops no task.
                    let replaced = state.owned.insert(key, started);
                    debug_assert!(replaced.is_none(), "a partition is revoked before it is assigned again");
                }
            }
        });
        info!(partitions = assigned.count(), owned = self.len(), "partitions assigned");
    }

    fn start_one<C: ConsumerContext + 'static>(
        &self,
        consumer: &Arc<BaseConsumer<C>>,
        key: &PartitionKey,
        resumption: &mut Resumption,
    ) -> Option<OwnedPartition> {
        let (topic, partition) = (key.0.as_str(), key.1);
        let Some(read_mode) = self.handlers.for_partition(topic, partition) else {
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
        let ledger = Ledger::resume_from(resumption.metadata.remove(key));
        let (cluster, commit_now) = (resumption.cluster.clone(), self.commit_now.clone());
        let limits = match &read_mode {
            ReadMode::Sequential(_) => self.limits,
            ReadMode::ByLine(_) => ReadAheadLimits {
                max_open_records: self.limits.max_open_records.min(MAX_WAITING_RECORDS),
                ..self.limits
            },
        };
        let partition_state = PartitionState::new(topic.into(), partition, cluster, ledger, limits, commit_now);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let state = (partition_state.clone(), resumption.offsets.get(key).copied());
        let records =
            RecordQueue::new(queue, consumer.clone(), state, self.probe_settings.clone(), self.readiness.clone());
        let budget = self.budget.clone();
        let task = match read_mode {
            ReadMode::Sequential(handler) => {
                let task = sequential::run(stop.clone(), partition_state.clone(), records, budget, handler);
                tracker.spawn_on(task, &self.runtime)
            }
            ReadMode::ByLine(backlog) => {
                let rereader = self.rereader.clone();
                let task = backlog::run(stop.clone(), partition_state.clone(), records, rereader, budget, backlog);
                tracker.spawn_on(task, &self.runtime)
            }
        };
        tracker.close();
        Some(OwnedPartition { partition_state, stop, task: task.abort_handle(), tracker })
    }

    /// Stops reading the revoked partitions, and waits until open records have settled or the deadline has passed.
    /// Returns the partitions' states for a last commit. The partitions stay owned until
    /// [`Assignment::remove_revoked`], so records that settle meanwhile are committed.
    pub(super) fn drain(&self, revoked: &TopicPartitionList) -> Vec<Arc<PartitionState>> {
        let (partitions, stop_by) = self.with(|state| {
            let revoked = keys(revoked).filter_map(|key| state.owned.get(&key).cloned());
            (revoked.collect::<Vec<_>>(), state.stop_deadline)
        });
        let deadline = stop_by.unwrap_or_else(|| Instant::now() + self.drain_timeout);
        if stop_by.is_none() && partitions.iter().any(|partition| partition.partition_state.is_under_way()) {
            let (count, within) = (revoked.count(), self.drain_timeout);
            info!(partitions = count, ?within, "partitions are drained before they are revoked");
        }
        self.runtime.block_on(drain(&partitions, deadline));
        partitions.iter().for_each(|partition| partition.partition_state.revoke());
        partitions.into_iter().map(|partition| partition.partition_state).collect()
    }

    /// Removes drained partitions from the owned ones.
    pub(super) fn remove_revoked(&self, revoked: &TopicPartitionList) {
        let left: usize =
            self.remove_partitions(revoked).iter().map(|partition| partition.partition_state.unsettled()).sum();
        info!(partitions = revoked.count(), owned = self.len(), left, "partitions revoked");
    }

    /// Ends the tasks of lost partitions. Another instance may already own them, so nothing is committed and open
    /// records are not awaited.
    pub(super) fn drop_lost(&self, lost: &TopicPartitionList) {
        let partitions = self.remove_partitions(lost);
        partitions.iter().for_each(|partition| partition.partition_state.revoke());
        self.runtime.block_on(drain(&partitions, Instant::now()));
        warn!(partitions = lost.count(), "partitions lost: the new owner reads their open records again");
    }

    /// Drains all partitions for a stop, and returns their states. The partitions stay owned, so records that settle
    /// are committed, and a partition that is revoked meanwhile is drained like any other.
    pub(super) async fn drain_all(&self) -> Vec<Arc<PartitionState>> {
        let deadline = Instant::now() + self.drain_timeout;
        let partitions: Vec<OwnedPartition> = self.with(|state| {
            state.stop_deadline = Some(deadline);
            state.owned.values().cloned().collect()
        });
        drain(&partitions, deadline).await;
        partitions.into_iter().map(|partition| partition.partition_state).collect()
    }

    /// The states of the owned partitions.
    pub(super) fn partition_states(&self) -> Vec<Arc<PartitionState>> {
        self.with(|state| state.owned.values().map(|partition| partition.partition_state.clone()).collect())
    }

    /// Number of owned partitions.
    pub(super) fn len(&self) -> usize {
        self.with(|state| state.owned.len())
    }

    /// Updates the fetch state of an owned partition from the client's statistics.
    pub(super) fn update_fetch_state(&self, topic: &str, partition: i32, state: FetchState) {
        let partition_state =
            self.with(|owned| Some(owned.owned.get(&(topic.to_owned(), partition))?.partition_state.clone()));
        if let Some(partition_state) = partition_state {
            partition_state.update_fetch_state(state);
        }
    }

    /// The next offset to commit of an owned partition, for the lag. None if the partition is not owned; Some(None)
    /// until a record has been read.
    pub(super) fn position(&self, topic: &str, partition: i32) -> Option<Option<i64>> {
        self.with(|state| Some(state.owned.get(&(topic.to_owned(), partition))?.partition_state.safe_offset()))
    }

    fn remove_partitions(&self, partitions: &TopicPartitionList) -> Vec<OwnedPartition> {
        let taken: Vec<OwnedPartition> =
            self.with(|state| keys(partitions).filter_map(|key| state.owned.remove(&key)).collect());
        // The new owner reports the lag from now on.
        taken
            .iter()
            .for_each(|partition| lag(&partition.partition_state.topic, partition.partition_state.partition).set(0.0));
        taken
    }

    fn with<T>(&self, act: impl FnOnce(&mut AssignmentState) -> T) -> T {
        act(&mut self.state.lock())
    }
}

fn keys(partitions: &TopicPartitionList) -> impl Iterator<Item = PartitionKey> {
    let elements = partitions.elements().into_iter();
    elements.map(|element| (element.topic().to_owned(), element.partition()))
}

/// The gauge of a partition's lag: records between the committed offset and the end.
pub(super) fn lag(topic: &str, partition: i32) -> metrics::Gauge {
    metrics::gauge!("outhook_lag_records", "topic" => topic.to_owned(), "partition" => partition.to_string())
}

/// Stops reading, and waits until open records have settled or the deadline has passed.
async fn drain(partitions: &[OwnedPartition], deadline: Instant) {
    partitions.iter().for_each(|partition| {
        partition.partition_state.start_draining();
        partition.stop.cancel();
    });
    for OwnedPartition { partition_state, task, tracker, .. } in partitions {
        if timeout_at(deadline, tracker.wait()).await.is_err() {
            // The task still waits for room downstream. Its record was not processed and is read again.
            task.abort();
            tracker.wait().await;
        }
        let _ = timeout_at(deadline, partition_state.wait_until_drained()).await;
    }
}
