//! One task an assigned partition: the next record, its entry in the book, its receipt, and on.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use tokio::sync::Notify;
use tracing::warn;

use super::consumer::Context;
use super::ledger::{Ledger, Rewound};
use super::{Handler, Handlers, Record};
use crate::lifecycle::Stopping;
use crate::receipt::{Book, Budget, Receipt};

/// A wake-up that librdkafka failed to give costs no more than this.
const IDLE_POLL: Duration = Duration::from_millis(500);

/// A partition's ledger, shared between the task that opens entries, the lanes that settle them, and the
/// commits.
pub(super) struct PartitionBook {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    ledger: Mutex<Ledger>,
    /// The prefix grew, or something else that a waiter looks at.
    moved: Notify,
    /// The offset that Kafka has acknowledged; -1 before the first.
    committed: AtomicI64,
    max_open: usize,
}

impl PartitionBook {
    pub(super) fn new(topic: Arc<str>, partition: i32, max_open: usize) -> Arc<Self> {
        Arc::new(Self {
            topic,
            partition,
            ledger: Mutex::default(),
            moved: Notify::new(),
            committed: AtomicI64::new(-1),
            max_open,
        })
    }

    /// The offset to commit, if Kafka has not acknowledged it yet.
    pub(super) fn due(&self) -> Option<i64> {
        self.safe_offset().filter(|safe| *safe != self.committed.load(Ordering::Acquire))
    }

    /// Kafka has acknowledged an offset.
    pub(super) fn committed(&self, offset: i64) {
        self.committed.store(offset, Ordering::Release);
    }

    /// The offset that may be committed; None until a record has settled.
    pub(super) fn safe_offset(&self) -> Option<i64> {
        self.with(|ledger| ledger.safe_offset())
    }

    /// Records read and not yet part of the settled prefix.
    pub(super) fn open_records(&self) -> usize {
        self.with(|ledger| ledger.len())
    }

    /// Waits until nothing is under way that may still settle.
    pub(super) async fn idle(&self) {
        self.wait_until(|ledger| !ledger.is_under_way()).await;
    }

    async fn room(&self) {
        self.wait_until(|ledger| ledger.len() < self.max_open).await;
    }

    async fn wait_until(&self, holds: impl Fn(&Ledger) -> bool) {
        if self.with(|ledger| holds(ledger)) {
            return;
        }
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.with(|ledger| holds(ledger)) {
                return;
            }
            moved.await;
        }
    }

    /// Opens the record's entry. When the log went back (a topic made anew, or cut), everything under way
    /// ends first and the book begins anew.
    async fn open(&self, offset: i64) -> u64 {
        match self.with(|ledger| ledger.open(offset)) {
            Ok(entry) => entry,
            Err(Rewound) => {
                let (topic, partition) = (&self.topic, self.partition);
                warn!(%topic, partition, offset, "the partition's offsets went back: was the topic made anew?");
                self.idle().await;
                self.with(|ledger| ledger.restart_at(offset))
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Book for PartitionBook {
    fn add_share(&self, entry: u64) {
        self.with(|ledger| ledger.add_share(entry));
    }

    fn settle_share(&self, entry: u64) {
        if self.with(|ledger| ledger.settle_share(entry)) {
            self.moved.notify_waiters();
        }
    }

    fn abandon_share(&self, entry: u64) {
        metrics::counter!("outhook_receipts_abandoned_total").increment(1);
        if self.with(|ledger| ledger.abandon_share(entry)) {
            self.moved.notify_waiters();
        }
    }
}

/// A partition's own queue of fetched records, and the wake-up for the next.
pub(super) struct RecordQueue<H: Handlers> {
    queue: PartitionQueue<Context<H>>,
    arrived: Arc<Notify>,
}

impl<H: Handlers> RecordQueue<H> {
    pub(super) fn new(mut queue: PartitionQueue<Context<H>>) -> Self {
        let arrived = Arc::new(Notify::new());
        let wake = arrived.clone();
        queue.set_nonempty_callback(move || wake.notify_one());
        Self { queue, arrived }
    }
}

/// Reads the partition until told to stop. There is room before a record is taken, and one that was taken is
/// handled to its end. `stopping` comes first because it is dropped last: by then the queue is gone.
pub(super) async fn run<H: Handlers>(
    mut stopping: Stopping,
    book: Arc<PartitionBook>,
    records: RecordQueue<H>,
    budget: Arc<Budget>,
    mut handler: H::Handler,
) {
    let read = metrics::counter!("outhook_records_total", "topic" => book.topic.to_string());
    loop {
        let room = async {
            book.room().await;
            budget.room().await;
        };
        tokio::select! {
            biased;
            () = room => {}
            () = stopping.asked() => return,
        }
        if stopping.is_asked() {
            return;
        }
        match records.queue.poll(Duration::ZERO) {
            Some(Ok(message)) => {
                // A record that is not due is not open either: when the partition is taken away it comes again.
                while let Some(wait) = handler.wait(&Record { topic: &book.topic, message: &message }) {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stopping.asked() => return,
                    }
                }
                let entry = book.open(message.offset()).await;
                let receipt = Receipt::open(book.clone(), entry, budget.clone());
                read.increment(1);
                handler.handle(Record { topic: &book.topic, message: &message }, receipt).await;
                tokio::task::coop::consume_budget().await;
            }
            Some(Err(error)) => report(&book, &error),
            None => tokio::select! {
                _ = records.arrived.notified() => {}
                _ = stopping.asked() => return,
                _ = tokio::time::sleep(IDLE_POLL) => {}
            },
        }
    }
}

fn report(book: &PartitionBook, error: &KafkaError) {
    if !matches!(error, KafkaError::PartitionEOF(_)) {
        warn!(topic = %book.topic, partition = book.partition, %error, "reading goes on by itself after a Kafka error");
    }
}
