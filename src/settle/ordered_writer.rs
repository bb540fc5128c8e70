//! Writes calls to the topic of row order, in the order in which they come.
//!
//! One task writes them, one after the other, and awaits what Kafka says of each in the same order. What is not
//! acknowledged when a write fails is written once more, all of it and in the same order, by a producer that is new:
//! a call can be in the topic twice then, but never for the first time behind one that came after it.
//!
//! A call that the topic does not take for its size becomes a dead letter. What is refused is a batch, so what is to be
//! written again is written one by one then, which says whose size it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Gauge, gauge};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, Producer as _, PurgeConfig};
use tokio::sync::{mpsc, watch};
use tracing::error;

use super::outgoing::Outgoing;
use super::producer::{self, Renewed, is_too_large};
use super::writer::{FIRST_WAIT, LONGEST_WAIT, RetryingWriter, TELL_EVERY, WRITE_TIMEOUT_MS};
use crate::lifecycle::Stop;
use crate::receipt::Receipt;

/// How many calls wait to be written; then whoever brings more of them waits too.
const QUEUED: usize = 1024;

/// How many calls are written and not acknowledged.
const UNDER_WAY: usize = 4096;

/// A record, with what settles once it is acknowledged.
struct Item {
    record: Outgoing,
    receipt: Receipt,
}

/// One that was handed to the client.
struct SentItem {
    item: Item,
    delivery: DeliveryFuture,
    since: Instant,
}

pub(super) struct OrderedWriter {
    queue: mpsc::Sender<Item>,
    pending: Arc<watch::Sender<usize>>,
    stop: Arc<Stop>,
}

/// The task that writes.
struct Pump {
    topic: Arc<str>,
    settings: ClientConfig,
    /// None until there is something to write, and after a failure: most have no webhook that wants row order.
    producer: Option<FutureProducer>,
    /// For one record at a time.
    alone: Renewed,
    queue: mpsc::Receiver<Item>,
    /// To be written before what is in the queue.
    again: VecDeque<Item>,
    under_way: VecDeque<SentItem>,
    letters: Arc<RetryingWriter>,
    pending: Arc<watch::Sender<usize>>,
    pending_gauge: Gauge,
    /// How long the next failure is waited over.
    wait: Duration,
    last_told: Option<Instant>,
}

impl OrderedWriter {
    /// Of two records the second is never written without the first: neither one that takes long nor one that fails is
    /// passed over. One batch is under way at a time, since a broker that knows nothing of a producer yet takes a second
    /// batch though it has refused the first.
    pub(super) fn settings(client: &ClientConfig) -> ClientConfig {
        let mut settings = producer::settings(client, "0");
        settings.set("enable.gapless.guarantee", "true").set("max.in.flight.requests.per.connection", "1");
        settings
    }

    /// `letters` writes the dead letters. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The Kafka client refuses its settings.
    pub fn start(topic: &str, client: &ClientConfig, letters: Arc<RetryingWriter>) -> Result<Self, String> {
        let settings = Self::settings(client);
        settings
            .create_native_config()
            .map_err(|reason| format!("the producer of the topic {topic} can't be made: {reason}"))?;
        let (queue, records) = mpsc::channel(QUEUED);
        let (pending, stop) = (Arc::new(watch::Sender::new(0)), Arc::<Stop>::default());
        let pump = Pump {
            topic: topic.into(),
            settings,
            producer: None,
            alone: Renewed::new(producer::alone(&producer::settings(client, WRITE_TIMEOUT_MS))),
            queue: records,
            again: VecDeque::new(),
            under_way: VecDeque::new(),
            letters,
            pending: pending.clone(),
            pending_gauge: gauge!("outhook_row_order_pending"),
            wait: FIRST_WAIT,
            last_told: None,
        };
        let stopping = stop.clone();
        tokio::spawn(async move {
            let mut pump = pump;
            tokio::select! {
                biased;
                () = stopping.asked() => {}
                () = pump.run() => {}
            }
            // What is left is dropped unsettled, so that its records come again.
            pump.count(|pending| *pending = 0);
        });
        Ok(Self { queue, pending, stop })
    }

    /// Writes the record behind all that came before, however often that takes, then settles the receipt. Waits for
    /// room in the queue. When stopped before, it drops the receipt.
    pub async fn write_then_settle(&self, record: Outgoing, receipt: Receipt) {
        let Ok(room) = self.queue.reserve().await else { return };
        self.pending.send_modify(|pending| *pending += 1);
        room.send(Item { record, receipt });
    }

    pub async fn drained(&self) {
        // The sender is in `self`: the only error, a dropped sender, can't be.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    pub fn stop(&self) {
        self.stop.now();
    }
}

impl Pump {
    /// Ends when nobody is left who could bring more.
    async fn run(&mut self) {
        let mut looks = tokio::time::interval(TELL_EVERY);
        loop {
            if let Some(item) = self.again.pop_front() {
                self.write(item).await;
                continue;
            }
            tokio::select! {
                biased;
                outcome = first(&mut self.under_way), if !self.under_way.is_empty() => self.acknowledged(outcome).await,
                item = self.queue.recv(), if self.under_way.len() < UNDER_WAY => match item {
                    Some(item) => self.write(item).await,
                    None => return,
                },
                _ = looks.tick() => self.look(),
            }
        }
    }

    /// Hands a record to the client. One that it does not take is the first to be written again.
    async fn write(&mut self, item: Item) {
        match self.begin(&item.record).await {
            Ok(delivery) => {
                self.under_way.push_back(SentItem { item, delivery, since: Instant::now() });
                self.count(|_| ());
            }
            // The client looks at it alone, and has taken nothing.
            Err(reason) if is_too_large(&reason) => self.dead_letter(item),
            Err(reason) => {
                self.again.push_front(item);
                self.start_over(None, &reason).await;
            }
        }
    }

    async fn begin(&mut self, record: &Outgoing) -> Result<DeliveryFuture, KafkaError> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.settings.create()?,
        };
        producer::begin(self.producer.insert(producer), &self.topic, record).await
    }

    /// What Kafka says of the first that is under way.
    async fn acknowledged(&mut self, outcome: Result<(), KafkaError>) {
        let Some(SentItem { item, .. }) = self.under_way.pop_front() else { return };
        match outcome {
            Ok(()) => {
                self.settle(item);
                self.wait = FIRST_WAIT;
            }
            Err(reason) => self.start_over(Some(item), &reason).await,
        }
    }

    /// Gives the producer up: everything that is not acknowledged by now is to be written again, by another one. The
    /// reason is that of the item, if there is one, which was the first under way.
    async fn start_over(&mut self, first: Option<Item>, reason: &KafkaError) {
        let producer = self.producer.take();
        if let Some(producer) = &producer {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
        let mut is_refused = is_too_large(reason);
        let mut again: VecDeque<_> = first.into_iter().collect();
        while let Some(SentItem { item, delivery, .. }) = self.under_way.pop_front() {
            match producer::outcome(delivery.await) {
                Ok(()) => self.settle(item),
                Err(reason) => {
                    is_refused |= is_too_large(&reason);
                    again.push_back(item);
                }
            }
        }
        // It waits for its thread to end.
        tokio::task::spawn_blocking(move || drop(producer));
        again.append(&mut self.again);
        self.again = again;
        if is_refused {
            self.tell(format_args!("{reason}; what was under way is written one by one, which is slow"));
            self.write_one_by_one().await;
        } else {
            self.fail(reason).await;
        }
    }

    /// Writes what is to be written again. A record that is refused alone is itself too large.
    async fn write_one_by_one(&mut self) {
        while let Some(item) = self.again.pop_front() {
            match self.alone.write(&self.topic, &item.record).await {
                Ok(()) => {
                    self.settle(item);
                    self.wait = FIRST_WAIT;
                }
                Err(reason) if is_too_large(&reason) => self.dead_letter(item),
                Err(reason) => {
                    self.again.push_front(item);
                    self.fail(&reason).await;
                }
            }
        }
    }

    async fn fail(&mut self, reason: &KafkaError) {
        self.tell(format_args!("{reason}"));
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    fn dead_letter(&mut self, item: Item) {
        self.letters.dead_letter(&item.record, &self.topic, item.receipt);
        self.count(|pending| *pending -= 1);
    }

    fn settle(&mut self, item: Item) {
        item.receipt.settle();
        self.count(|pending| *pending -= 1);
    }

    fn count(&self, change: impl FnOnce(&mut usize)) {
        self.pending.send_modify(change);
        self.pending_gauge.set(*self.pending.borrow() as f64);
    }

    /// Whether Kafka has been silent for long: the client itself tries for ever.
    fn look(&mut self) {
        if self.under_way.front().is_some_and(|written| written.since.elapsed() >= TELL_EVERY) {
            self.tell(format_args!("Kafka has not acknowledged the first of them for {TELL_EVERY:?}"));
        }
    }

    fn tell(&mut self, reason: std::fmt::Arguments<'_>) {
        if self.last_told.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            self.last_told = Some(Instant::now());
            error!(
                topic = &*self.topic,
                pending = *self.pending.borrow(),
                "calls can't be written to the topic of row order, so their records' offsets wait: {reason}"
            );
        }
    }
}

/// What becomes of the first that is under way. It may be asked for again if the answer is not awaited.
async fn first(under_way: &mut VecDeque<SentItem>) -> Result<(), KafkaError> {
    match under_way.front_mut() {
        Some(written) => producer::outcome((&mut written.delivery).await),
        None => std::future::pending().await,
    }
}
