//! Writes records until they are acknowledged.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use metrics::{Gauge, counter, describe_counter, describe_gauge};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::StartError;
use super::dead_letterer::DeadLetterer;
use super::outgoing::{Outgoing, OutgoingKind};
use super::producer::{self, INITIAL_RETRY_DELAY, LOG_INTERVAL, MAX_RETRY_DELAY, WRITE_TIMEOUT_MS};
use crate::kafka::errors::{self, is_queue_full, is_too_large};
use crate::kafka::producer::{NewRecord, RecoveringProducer, alone};
use crate::kafka::{ClientConfig, KafkaError};
use crate::receipt::Receipt;

pub(super) struct RetryingWriter {
    /// Name of the records for logs: `dead letters`, `retries` or `operator events`.
    record_description: &'static str,
    producer: RecoveringProducer,
    /// Writes records that were refused for their size: perhaps another record of the batch was too large.
    single_record_producer: RecoveringProducer,
    dead_letterer: Arc<DeadLetterer>,
    /// Spawns tasks from the client's thread.
    runtime: Handle,
    /// Number of records under way.
    pending: watch::Sender<usize>,
    pending_gauge: Gauge,
    stop: CancellationToken,
    last_logged: Mutex<Option<Instant>>,
}

/// A record under way, and the receipt that it settles. It counts as pending until it is dropped.
struct PendingRecord {
    writer: Arc<RetryingWriter>,
    receipt: Option<Receipt>,
}

impl PendingRecord {
    fn new(writer: &Arc<RetryingWriter>, receipt: Option<Receipt>) -> Self {
        writer.pending_gauge.increment(1.0);
        writer.pending.send_modify(|pending| *pending += 1);
        Self { writer: writer.clone(), receipt }
    }

    /// Settles the receipt of an acknowledged record.
    fn settle(mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.settle();
        }
    }

    /// Writes again a record that was not acknowledged for this reason.
    fn retry_in_task(self, topic: Arc<str>, record: Outgoing, reason: KafkaError) {
        let writer = self.writer.clone();
        if writer.stop.is_cancelled() {
            return;
        }
        writer.clone().runtime.spawn(async move {
            tokio::select! {
                () = writer.write_until_acknowledged(topic, record, reason) => self.settle(),
                () = writer.stop.cancelled() => drop(self),
            }
        });
    }
}

impl Drop for PendingRecord {
    fn drop(&mut self) {
        // First, so that the receipt is settled or dropped when `wait_until_drained` sees that nothing is pending.
        drop(self.receipt.take());
        self.writer.pending_gauge.decrement(1.0);
        self.writer.pending.send_modify(|pending| *pending -= 1);
    }
}

impl RetryingWriter {
    /// Call it in a tokio runtime.
    ///
    /// # Errors
    /// The Kafka client refuses its settings.
    pub fn new(
        what: &'static str,
        pending_gauge: Gauge,
        client: &ClientConfig,
        dead_letterer: &Arc<DeadLetterer>,
    ) -> Result<Arc<Self>, StartError> {
        let settings = producer::settings(client, WRITE_TIMEOUT_MS);
        let alone = RecoveringProducer::new(alone(&settings));
        let producer = RecoveringProducer::new(settings);
        producer.make().map_err(|source| StartError::Producer { purpose: what.to_owned(), source })?;
        Ok(Arc::new(Self {
            record_description: what,
            producer,
            single_record_producer: alone,
            dead_letterer: dead_letterer.clone(),
            runtime: Handle::current(),
            pending: watch::Sender::new(0),
            pending_gauge,
            stop: CancellationToken::new(),
            last_logged: Mutex::new(None),
        }))
    }

    /// Writes the dead letter of a call that `topic` refused for its size. Otherwise like [`Self::write_then_settle`].
    pub fn dead_letter_too_large(self: &Arc<Self>, record: &Outgoing, topic: &str, receipt: Receipt) {
        let letter = self.dead_letterer.too_large(record, topic);
        self.write_then_settle(self.dead_letterer.topic.clone(), letter, receipt);
    }

    /// Writes the record, retrying until it is acknowledged, then settles the receipt. Drops the receipt if it is
    /// stopped before.
    pub fn write_then_settle(self: &Arc<Self>, topic: Arc<str>, record: Outgoing, receipt: Receipt) {
        self.send(topic, record, Some(receipt));
    }

    /// Writes the record, retrying until it is acknowledged or the writer is stopped.
    pub fn write(self: &Arc<Self>, topic: Arc<str>, record: Outgoing) {
        self.send(topic, record, None);
    }

    /// Number of records under way.
    pub fn pending(&self) -> usize {
        *self.pending.borrow()
    }

    /// Hands the record to the client, with the callback for its outcome. Only a record that is not acknowledged
    /// becomes a task: there can be many thousands of records a second.
    fn send(self: &Arc<Self>, topic: Arc<str>, record: Outgoing, receipt: Option<Receipt>) {
        if self.stop.is_cancelled() {
            return;
        }
        let Outgoing { kind, source_position: place, record } = record;
        let (pending, to) = (PendingRecord::new(self, receipt), topic.clone());
        let report = move |written: Result<(), (KafkaError, NewRecord)>| match written {
            Ok(()) => {
                count(&to, kind);
                pending.settle();
            }
            Err((reason, record)) => {
                pending.retry_in_task(to, Outgoing { kind, source_position: place, record }, reason)
            }
        };
        self.producer.begin(&topic, record, Box::new(report));
        // Purge a record that was handed over after [`Self::stop`] had purged.
        if self.stop.is_cancelled() {
            self.purge();
        }
    }

    pub async fn wait_until_drained(&self) {
        // The sender is in `self`, so the only error, a dropped sender, can't occur.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    pub fn stop(self: &Arc<Self>) {
        self.stop.cancel();
        self.purge();
    }

    /// Makes the client report each unacknowledged record as failed. Runs in a separate thread: it waits for the
    /// client's threads, which may be resolving names.
    fn purge(self: &Arc<Self>) {
        if self.pending() > 0 {
            let writer = self.clone();
            thread::spawn(move || writer.producer.purge());
        }
    }

    /// Writes a record that was not acknowledged for this reason. A call that its topic refuses for its size is
    /// written to the dead-letter topic instead.
    async fn write_until_acknowledged(&self, mut topic: Arc<str>, mut record: Outgoing, reason: KafkaError) {
        self.producer.drop_broken();
        let (mut is_alone, mut wait, mut written) = (false, INITIAL_RETRY_DELAY, Err(reason));
        loop {
            match written {
                Ok(()) => break,
                Err(reason) if is_queue_full(&reason) => {}
                Err(reason) if is_too_large(&reason) && !is_alone => is_alone = true,
                // Waiting does not make the record smaller.
                Err(reason) if is_too_large(&reason) && record.can_drop_part() => drop_part(&topic, &mut record),
                Err(reason) if is_too_large(&reason) && matches!(record.kind, OutgoingKind::Retry) => {
                    record = self.dead_letterer.too_large(&record, &topic);
                    topic = self.dead_letterer.topic.clone();
                }
                Err(reason) => {
                    self.log_error(&topic, &record, &reason);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(MAX_RETRY_DELAY);
                }
            }
            let producer = if is_alone { &self.single_record_producer } else { &self.producer };
            written = producer.write(&topic, &record.record).await;
        }
        count(&topic, record.kind);
    }

    fn log_error(&self, topic: &str, record: &Outgoing, reason: &KafkaError) {
        let mut last = self.last_logged.lock();
        if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            *last = Some(Instant::now());
            error!(
                topic,
                pending = *self.pending.borrow(),
                "{} can't be written, so the offsets of their records are held back: {} (one of them: {})",
                self.record_description,
                errors::error_text(reason),
                record.source_position
            );
        }
    }
}

fn drop_part(topic: &str, record: &mut Outgoing) {
    let (part, bytes) = record.drop_part();
    error!(
        topic,
        "the dead letter of {} is written without its {part} of {bytes} bytes, because the topic refused the whole \
         record for its size: raise the topic's max.message.bytes",
        record.source_position
    );
}

fn count(topic: &str, kind: OutgoingKind) {
    match kind {
        OutgoingKind::DeadLetter { kind, class } => {
            counter!("outhook_dead_letters_total", "kind" => kind, "class" => class).increment(1);
        }
        OutgoingKind::OperatorEvent | OutgoingKind::Redriven => {}
        OutgoingKind::Retry => counter!("outhook_retries_total", "topic" => topic.to_owned()).increment(1),
    }
}

/// Registers the descriptions of this stage's metrics.
pub fn describe_metrics() {
    describe_counter!("outhook_dead_letters_total", "Dead letters written and acknowledged, by kind and cause");
    describe_gauge!("outhook_dead_letters_pending", "Dead letters not acknowledged yet; their offsets are held back");
    describe_counter!(
        "outhook_redriven_total",
        "Calls sent again over this instance's API, by how: redrive of a dead letter, or resend of a message"
    );
    describe_counter!("outhook_operator_events_total", "Operator events of endpoints, written or not, by kind");
    describe_counter!(
        "outhook_operator_events_left_out_total",
        "Operator events that were dropped, because too many were not acknowledged yet"
    );
    describe_counter!("outhook_retries_total", "Calls written to a retry topic or to the overflow log, by topic");
    describe_gauge!(
        "outhook_retries_pending",
        "Calls that their retry topic or the overflow log has not acknowledged yet; their offsets are held back"
    );
    describe_gauge!(
        "outhook_row_order_pending",
        "Calls that the row-order topic has not acknowledged yet; their offsets are held back"
    );
    describe_gauge!("outhook_operator_events_pending", "Operator events that their topic has not acknowledged yet");
}
