//! The queue of one partition's fetched records, and the handling of offsets that can't be read.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{error, warn};

use super::UnreadableRange;
use super::completion::RecordFingerprint;
use super::gaps::{self, Gaps};
use super::partition::PartitionState;
use super::probe::{Prober, SearchResult};
use super::read_error::ReadError;
use super::read_state::{ReadState, ReadStep};
use crate::lifecycle::Readiness;
use crate::receipt::{Budget, Receipt};

/// The queue of a partition, with a wake-up for new records.
pub(super) struct RecordQueue<C: ConsumerContext> {
    queue: PartitionQueue<C>,
    arrived: Arc<Notify>,
    state: QueueState<C>,
}

/// The next item of a queue.
pub(super) enum NextRecord<'q> {
    /// A record, with the unreadable offsets before it.
    Record(BorrowedMessage<'q>, Option<UnreadableRange>),
    /// Unreadable offsets. Reading continues behind them.
    Unreadable(UnreadableRange),
    /// The client has reported an error and continues.
    Failed,
}

/// The read position of a queue, with its errors and gaps.
struct QueueState<C: ConsumerContext> {
    consumer: Arc<BaseConsumer<C>>,
    partition_state: Arc<PartitionState>,
    read_state: ReadState,
    prober: Prober,
    search: Option<UnreadableSearch>,
    gaps: Gaps,
    arrived: Arc<Notify>,
}

/// A search under way. Dropping this aborts it.
struct UnreadableSearch {
    result: oneshot::Receiver<SearchResult>,
    task: AbortHandle,
}

impl<C: ConsumerContext> RecordQueue<C> {
    /// `committed` is the group's committed offset, if there is one. `probe_settings` are the settings of clients that
    /// probe the partition.
    pub(super) fn new(
        mut queue: PartitionQueue<C>,
        consumer: Arc<BaseConsumer<C>>,
        (partition_state, committed): (Arc<PartitionState>, Option<i64>),
        probe_settings: Arc<ClientConfig>,
        readiness: Readiness,
    ) -> Self {
        let arrived = Arc::new(Notify::new());
        let wake = arrived.clone();
        queue.set_nonempty_callback(move || wake.notify_one());
        let read_state = ReadState::new(partition_state.topic.clone(), partition_state.partition, committed, readiness);
        let prober = Prober::new(probe_settings, partition_state.topic.clone(), partition_state.partition);
        let (search, gaps) = (None, Gaps::default());
        let state =
            QueueState { consumer, partition_state, read_state, prober, search, gaps, arrived: arrived.clone() };
        Self { queue, arrived, state }
    }

    /// The next item, if there is one. Must be called within a tokio runtime.
    pub(super) fn poll(&mut self) -> Option<NextRecord<'_>> {
        if let Some(unreadable) = self.state.advance_search() {
            return Some(NextRecord::Unreadable(unreadable));
        }
        let Some(polled) = self.queue.poll(Duration::ZERO) else {
            self.state.skip_trailing_gap();
            return None;
        };
        match polled {
            Ok(message) => {
                self.state.search = None;
                if let Some(next) = self.state.read_state.next().filter(|next| *next < message.offset()) {
                    self.state
                        .gaps
                        .add(next..message.offset(), self.state.partition_state.log_start().statistics_number);
                }
                let before = self.state.read_state.record(message.offset());
                Some(NextRecord::Record(message, before))
            }
            Err(error) => {
                self.state.on_error(&error);
                Some(NextRecord::Failed)
            }
        }
    }

    /// Resolves when a new item may be available.
    pub(super) async fn wait_for_records(&self) {
        self.arrived.notified().await;
    }
}

impl<C: ConsumerContext> QueueState<C> {
    fn on_error(&mut self, error: &KafkaError) {
        let (topic, partition) = (&self.partition_state.topic, self.partition_state.partition);
        let Some(cause) = ReadError::of(error) else {
            return warn!(%topic, partition, %error, "the client retries after a Kafka error");
        };
        let step = self.read_state.on_error(cause, Instant::now());
        self.apply_step(step);
    }

    /// Starts a search when one is due, and applies the result of a finished one.
    fn advance_search(&mut self) -> Option<UnreadableRange> {
        if !self.gaps.is_empty()
            && let Some(deleted) = self.gaps.find_deleted(self.partition_state.log_start())
        {
            gaps::report_deleted(&self.partition_state.topic, self.partition_state.partition, &deleted);
        }
        let Some(search) = &mut self.search else {
            let step = self.read_state.due(Instant::now());
            self.apply_step(step);
            return None;
        };
        let found = match search.result.try_recv() {
            Ok(found) => found,
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => SearchResult::Inconclusive,
        };
        self.search = None;
        let (unreadable, step) = self.read_state.on_search_result(found, Instant::now());
        self.apply_step(step);
        unreadable
    }

    /// Skips offsets without a record behind the last record. Called when all fetched records are read.
    fn skip_trailing_gap(&mut self) {
        if self.search.is_some() || self.read_state.has_error() {
            return;
        }
        let Some(passed) = self.partition_state.skip_fetched_gap() else { return };
        if let Some(next) = self.read_state.next().filter(|next| *next < passed) {
            self.gaps.add(next..passed, 0);
            self.read_state.continue_at(passed);
        }
    }

    fn apply_step(&mut self, step: Option<ReadStep>) {
        match step {
            None => {}
            Some(ReadStep::Seek(offset)) => {
                self.partition_state.reset_fetch_progress();
                let (topic, partition) = (&self.partition_state.topic, self.partition_state.partition);
                // This does not wait. Until the seek takes effect, the client reports the same error.
                if let Err(error) = self.consumer.seek(topic, partition, Offset::Offset(offset), Duration::ZERO) {
                    warn!(%topic, partition, offset, %error, "the client can't seek past unreadable offsets");
                }
            }
            Some(ReadStep::Search(first, cause)) => {
                let (sender, found) = oneshot::channel();
                let (searching, arrived) = (self.prober.clone().search(first, cause), self.arrived.clone());
                let task = tokio::spawn(async move {
                    let _ = sender.send(searching.await);
                    arrived.notify_one();
                });
                self.search = Some(UnreadableSearch { result: found, task: task.abort_handle() });
            }
        }
    }
}

impl Drop for UnreadableSearch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Enters unreadable offsets in the ledger, and passes them to `handler` with their receipt. Like a record they are
/// done once the receipt is settled.
pub(super) async fn pass_on_unreadable(
    partition_state: &Arc<PartitionState>,
    budget: &Arc<Budget>,
    unreadable: &UnreadableRange,
    handler: impl FnOnce(&UnreadableRange, Receipt),
) {
    let UnreadableRange { first: place, last_offset: last, cause } = unreadable;
    let (topic, partition, first) = (&place.topic, place.partition, place.offset);
    error!(%topic, partition, first, last, cause, "these offsets can't be read: they are dead-lettered");
    let count = u64::try_from(last - first + 1).unwrap_or(1);
    metrics::counter!("outhook_records_unreadable_total", "topic" => topic.to_string()).increment(count);
    // Unreadable offsets have no timestamp.
    let entry = |offset| partition_state.open(RecordFingerprint { offset, timestamp: 0 });
    let receipt = entry(first).await.map(|entry| Receipt::open(partition_state.clone(), entry, budget.clone()));
    if *last > first
        && let Some(end) = entry(*last).await
    {
        // Enters the last offset as settled, so the offsets behind the first are not read again once the first
        // settles.
        Receipt::open(partition_state.clone(), end, budget.clone()).settle();
    }
    if let Some(receipt) = receipt {
        handler(unreadable, receipt);
    }
}
