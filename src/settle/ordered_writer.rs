//! Writes calls to the row-order topic, in the order in which they arrive.
//!
//! One task writes them one after the other, and awaits Kafka's acknowledgements in the same order. If a write fails,
//! a new producer writes all unacknowledged calls again, in the same order. A call can then be in the topic twice, but
//! never for the first time behind a later one.
//!
//! A call that the topic refuses for its size becomes a dead letter. Kafka refuses whole batches, so the
//! unacknowledged calls are then written one by one, which shows the call that is too large.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Gauge, gauge};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::StartError;
use super::outgoing::Outgoing;
use super::producer::{self, INITIAL_RETRY_DELAY, LOG_INTERVAL, MAX_RETRY_DELAY, WRITE_TIMEOUT_MS};
use super::writer::RetryingWriter;
use crate::kafka::errors::is_too_large;
use crate::kafka::producer::{AwaitedProducer, Delivery, NewRecord, RecoveringProducer, alone};
use crate::kafka::settings;
use crate::kafka::{ClientConfig, KafkaError};
use crate::receipt::Receipt;

/// Max calls that wait to be written. When the queue is full, the sender waits.
const MAX_QUEUED: usize = 1024;

/// Max calls that are written and not acknowledged.
const MAX_IN_FLIGHT: usize = 4096;

/// A record, and the receipt that settles once it is acknowledged.
struct Item {
    record: Outgoing,
    receipt: Receipt,
}

/// A record that was handed to the client.
struct InFlightRecord {
    record: Item,
    delivery: Delivery,
    sent_at: Instant,
}

pub(super) struct OrderedWriter {
    queue: mpsc::Sender<Item>,
    pending: Arc<watch::Sender<usize>>,
    stop: CancellationToken,
}

/// The task that writes.
struct OrderedWriteTask {
    topic: Arc<str>,
    settings: ClientConfig,
    /// None until there is something to write, and after a failure. Most instances have no webhook with row order.
    producer: Option<AwaitedProducer>,
    /// Writes one record at a time.
    single_record_producer: RecoveringProducer,
    queue: mpsc::Receiver<Item>,
    /// Written before the queue.
    retry_queue: VecDeque<Item>,
    in_flight: VecDeque<InFlightRecord>,
    dead_letter_writer: Arc<RetryingWriter>,
    pending: Arc<watch::Sender<usize>>,
    pending_gauge: Gauge,
    /// Wait after the next failure.
    retry_delay: Duration,
    last_logged: Option<Instant>,
}

impl OrderedWriter {
    /// Settings of a producer that never writes the second of two records without the first: a slow or failed record
    /// is not skipped. One batch is in flight at a time, because a broker that does not know the producer yet accepts
    /// a second batch even if it has refused the first.
    pub(super) fn settings(client: &ClientConfig) -> ClientConfig {
        let mut settings = producer::settings(client, "0");
        settings.set("enable.gapless.guarantee", "true").set("max.in.flight.requests.per.connection", "1");
        settings
    }

    /// Starts the task. `dead_letter_writer` writes the dead letters. Call it in a tokio runtime.
    ///
    /// # Errors
    /// The Kafka client refuses its settings.
    pub fn start(
        topic: &str,
        client: &ClientConfig,
        dead_letter_writer: Arc<RetryingWriter>,
    ) -> Result<Self, StartError> {
        let settings = Self::settings(client);
        settings::check(&settings)
            .map_err(|source| StartError::Producer { purpose: format!("topic {topic}"), source })?;
        let (queue, records) = mpsc::channel(MAX_QUEUED);
        let (pending, stop) = (Arc::new(watch::Sender::new(0)), CancellationToken::new());
        let pump = OrderedWriteTask {
            topic: topic.into(),
            settings,
            producer: None,
            single_record_producer: RecoveringProducer::new(alone(&producer::settings(client, WRITE_TIMEOUT_MS))),
            queue: records,
            retry_queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            dead_letter_writer,
            pending: pending.clone(),
            pending_gauge: gauge!("outhook_row_order_pending"),
            retry_delay: INITIAL_RETRY_DELAY,
            last_logged: None,
        };
        let stopping = stop.clone();
        tokio::spawn(async move {
            let mut pump = pump;
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = pump.run() => {}
            }
            // The remaining records are dropped unsettled, so their source records are read again.
            pump.update_pending(|pending| *pending = 0);
        });
        Ok(Self { queue, pending, stop })
    }

    /// Writes the record behind all earlier ones, retrying until it is acknowledged, then settles the receipt. Waits
    /// for room in the queue. Drops the receipt if the writer is stopped before.
    pub async fn write_then_settle(&self, record: Outgoing, receipt: Receipt) {
        let Ok(room) = self.queue.reserve().await else { return };
        self.pending.send_modify(|pending| *pending += 1);
        room.send(Item { record, receipt });
    }

    pub async fn wait_until_drained(&self) {
        // The sender is in `self`, so the only error, a dropped sender, can't occur.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl OrderedWriteTask {
    /// Ends when the sender of the queue is dropped.
    async fn run(&mut self) {
        let mut log_interval = tokio::time::interval(LOG_INTERVAL);
        loop {
            if let Some(item) = self.retry_queue.pop_front() {
                self.write(item).await;
                continue;
            }
            tokio::select! {
                biased;
                outcome = next_outcome(&mut self.in_flight), if !self.in_flight.is_empty() => self.handle_outcome(outcome).await,
                item = self.queue.recv(), if self.in_flight.len() < MAX_IN_FLIGHT => match item {
                    Some(item) => self.write(item).await,
                    None => return,
                },
                _ = log_interval.tick() => self.log_if_stalled(),
            }
        }
    }

    /// Hands a record to the client. A record that the client refuses is written again first.
    async fn write(&mut self, item: Item) {
        match self.send(&item.record.record).await {
            Ok(delivery) => {
                self.in_flight.push_back(InFlightRecord { record: item, delivery, sent_at: Instant::now() });
                self.update_pending(|_| ());
            }
            // The client has checked this record alone, and has accepted nothing.
            Err(reason) if is_too_large(&reason) => self.dead_letter_item(item),
            Err(reason) => {
                self.retry_queue.push_front(item);
                self.replace_producer(None, &reason).await;
            }
        }
    }

    async fn send(&mut self, record: &NewRecord) -> Result<Delivery, KafkaError> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => AwaitedProducer::new(&self.settings)?,
        };
        self.producer.insert(producer).begin(&self.topic, record).await
    }

    /// Handles the outcome of the first record under way.
    async fn handle_outcome(&mut self, outcome: Result<(), KafkaError>) {
        let Some(InFlightRecord { record: item, .. }) = self.in_flight.pop_front() else { return };
        match outcome {
            Ok(()) => {
                self.settle(item);
                self.retry_delay = INITIAL_RETRY_DELAY;
            }
            Err(reason) => self.replace_producer(Some(item), &reason).await,
        }
    }

    /// Replaces the producer: a new one writes all unacknowledged records again. `reason` is the error of `first` if
    /// that is given, which was the first record under way.
    async fn replace_producer(&mut self, first: Option<Item>, reason: &KafkaError) {
        let producer = self.producer.take();
        if let Some(producer) = &producer {
            producer.purge();
        }
        let mut is_refused = is_too_large(reason);
        let mut unacknowledged: VecDeque<_> = first.into_iter().collect();
        while let Some(InFlightRecord { record: item, delivery, .. }) = self.in_flight.pop_front() {
            match delivery.await {
                Ok(()) => self.settle(item),
                Err(reason) => {
                    is_refused |= is_too_large(&reason);
                    unacknowledged.push_back(item);
                }
            }
        }
        if let Some(producer) = producer {
            producer.close();
        }
        unacknowledged.append(&mut self.retry_queue);
        self.retry_queue = unacknowledged;
        if is_refused {
            self.log_error(format_args!("{reason}; the unacknowledged calls are written one by one, which is slow"));
            self.write_one_by_one().await;
        } else {
            self.log_and_wait(reason).await;
        }
    }

    /// Writes the records of the retry queue one by one. A record that is refused alone is too large itself.
    async fn write_one_by_one(&mut self) {
        while let Some(item) = self.retry_queue.pop_front() {
            match self.single_record_producer.write(&self.topic, &item.record.record).await {
                Ok(()) => {
                    self.settle(item);
                    self.retry_delay = INITIAL_RETRY_DELAY;
                }
                Err(reason) if is_too_large(&reason) => self.dead_letter_item(item),
                Err(reason) => {
                    self.retry_queue.push_front(item);
                    self.log_and_wait(&reason).await;
                }
            }
        }
    }

    async fn log_and_wait(&mut self, reason: &KafkaError) {
        self.log_error(format_args!("{reason}"));
        tokio::time::sleep(self.retry_delay).await;
        self.retry_delay = (self.retry_delay * 2).min(MAX_RETRY_DELAY);
    }

    fn dead_letter_item(&mut self, item: Item) {
        self.dead_letter_writer.dead_letter_too_large(&item.record, &self.topic, item.receipt);
        self.update_pending(|pending| *pending -= 1);
    }

    fn settle(&mut self, item: Item) {
        item.receipt.settle();
        self.update_pending(|pending| *pending -= 1);
    }

    fn update_pending(&self, change: impl FnOnce(&mut usize)) {
        self.pending.send_modify(change);
        self.pending_gauge.set(*self.pending.borrow() as f64);
    }

    /// Logs when Kafka has been silent for long: the client itself retries without limit.
    fn log_if_stalled(&mut self) {
        if self.in_flight.front().is_some_and(|written| written.sent_at.elapsed() >= LOG_INTERVAL) {
            self.log_error(format_args!("Kafka has not acknowledged the first call for {LOG_INTERVAL:?}"));
        }
    }

    fn log_error(&mut self, reason: std::fmt::Arguments<'_>) {
        if self.last_logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            self.last_logged = Some(Instant::now());
            error!(
                topic = &*self.topic,
                pending = *self.pending.borrow(),
                "calls can't be written to the row-order topic, so the offsets of their records are held back: {reason}"
            );
        }
    }
}

/// Outcome of the first record under way. It can be awaited again if it is cancelled.
async fn next_outcome(under_way: &mut VecDeque<InFlightRecord>) -> Result<(), KafkaError> {
    match under_way.front_mut() {
        Some(written) => (&mut written.delivery).await,
        None => std::future::pending().await,
    }
}
