//! Writes calls to the topic of row order, in the order in which they come.
//!
//! One task writes them, one after the other, and awaits what Kafka says of each in the same order. What is not
//! acknowledged when a write fails is written once more, all of it and in the same order, by a producer that is new:
//! a call can be in the topic twice then, but never for the first time behind one that came after it.

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
use super::writer::{self, FIRST_WAIT, LONGEST_WAIT, TELL_EVERY};
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
struct Written {
    item: Item,
    delivery: DeliveryFuture,
    since: Instant,
}

pub(super) struct InOrder {
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
    queue: mpsc::Receiver<Item>,
    /// To be written before what is in the queue.
    again: VecDeque<Item>,
    under_way: VecDeque<Written>,
    pending: Arc<watch::Sender<usize>>,
    pending_gauge: Gauge,
    /// How long the next failure is waited over.
    wait: Duration,
    last_told: Option<Instant>,
}

impl InOrder {
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The Kafka client refuses its settings.
    pub fn start(topic: &str, client: &ClientConfig) -> Result<Self, String> {
        // Of two records the second is never written without the first: neither one that takes long nor one that fails
        // is passed over.
        let mut settings = writer::settings(client, "0");
        settings.set("enable.gapless.guarantee", "true");
        settings
            .create_native_config()
            .map_err(|reason| format!("the producer of the topic {topic} can't be made: {reason}"))?;
        let (queue, records) = mpsc::channel(QUEUED);
        let (pending, stop) = (Arc::new(watch::Sender::new(0)), Arc::<Stop>::default());
        let pump = Pump {
            topic: topic.into(),
            settings,
            producer: None,
            queue: records,
            again: VecDeque::new(),
            under_way: VecDeque::new(),
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
            let next = match self.again.pop_front() {
                Some(item) => Ok(Some(item)),
                None => tokio::select! {
                    biased;
                    outcome = first(&mut self.under_way), if !self.under_way.is_empty() => self.acknowledged(outcome),
                    item = self.queue.recv(), if self.under_way.len() < UNDER_WAY => match item {
                        Some(item) => Ok(Some(item)),
                        None => return,
                    },
                    _ = looks.tick() => {
                        self.look();
                        Ok(None)
                    }
                },
            };
            let written = match next {
                Ok(Some(item)) => self.write(item).await,
                Ok(None) => Ok(()),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = written {
                self.start_over(&reason).await;
            }
        }
    }

    /// Hands a record to the client. One that it does not take is the first to be written again.
    async fn write(&mut self, item: Item) -> Result<(), KafkaError> {
        let producer = match self.producer.take().map_or_else(|| self.settings.create(), Ok) {
            Ok(producer) => self.producer.insert(producer),
            Err(reason) => {
                self.again.push_front(item);
                return Err(reason);
            }
        };
        match writer::begin(producer, &self.topic, &item.record).await {
            Ok(delivery) => {
                self.under_way.push_back(Written { item, delivery, since: Instant::now() });
                self.count(|_| ());
                Ok(())
            }
            Err(reason) => {
                self.again.push_front(item);
                Err(reason)
            }
        }
    }

    /// What Kafka says of the first that is under way.
    fn acknowledged(&mut self, outcome: Result<(), KafkaError>) -> Result<Option<Item>, KafkaError> {
        outcome?;
        if let Some(written) = self.under_way.pop_front() {
            self.settle(written.item);
        }
        self.wait = FIRST_WAIT;
        Ok(None)
    }

    /// Gives the producer up: everything that is not acknowledged by now is to be written again, by another one.
    async fn start_over(&mut self, reason: &KafkaError) {
        self.tell(format_args!("{reason}"));
        let producer = self.producer.take();
        if let Some(producer) = &producer {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
        let mut again = VecDeque::new();
        while let Some(Written { item, delivery, .. }) = self.under_way.pop_front() {
            match writer::outcome(delivery.await) {
                Ok(()) => self.settle(item),
                Err(_) => again.push_back(item),
            }
        }
        again.append(&mut self.again);
        self.again = again;
        // It waits for its thread to end.
        tokio::task::spawn_blocking(move || drop(producer));
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
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
async fn first(under_way: &mut VecDeque<Written>) -> Result<(), KafkaError> {
    match under_way.front_mut() {
        Some(written) => writer::outcome((&mut written.delivery).await),
        None => std::future::pending().await,
    }
}
