//! Writes records until they are acknowledged.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::{Gauge, counter, describe_counter, describe_gauge};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use tokio::sync::watch;
use tracing::{error, warn};

use super::outgoing::{Kind, Outgoing};
use crate::lifecycle::Stop;
use crate::receipt::Receipt;
use crate::render::MAX_MESSAGE_BYTES;

/// The wait after a write that failed, doubled up to the longest.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long one write may take before it counts as failed and is tried again.
const WRITE_TIMEOUT_MS: &str = "30000";

/// How often it is told that records can't be written.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(60);

/// The most that records take which wait in the client to be sent, beside what the byte budget counts, in KiB.
const CLIENT_QUEUE_KIB: &str = "32768";

/// How long a client whose own queue is full is left alone.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);

/// The largest record: a message as it was, and what its headers and framing add.
pub const MAX_RECORD_BYTES: usize = MAX_MESSAGE_BYTES + 2 * 1024 * 1024;

/// What a producer needs, beside how the cluster is reached, so that what it says is written is written.
pub(super) fn settings(client: &ClientConfig, timeout_ms: &str) -> ClientConfig {
    let mut settings = client.clone();
    settings
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("message.timeout.ms", timeout_ms)
        .set("queue.buffering.max.kbytes", CLIENT_QUEUE_KIB)
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string());
    settings
}

pub(super) struct Writer {
    /// What is written: `dead letters` or `retries`.
    what: &'static str,
    settings: ClientConfig,
    producer: Mutex<FutureProducer>,
    /// How many records are under way.
    pending: watch::Sender<usize>,
    pending_gauge: Gauge,
    stop: Stop,
    last_told: Mutex<Option<Instant>>,
}

impl Writer {
    pub fn new(what: &'static str, pending_gauge: Gauge, client: &ClientConfig) -> Result<Arc<Self>, String> {
        let settings = settings(client, WRITE_TIMEOUT_MS);
        let producer = settings.create().map_err(|reason| format!("the producer of {what} can't be made: {reason}"))?;
        Ok(Arc::new(Self {
            what,
            settings,
            producer: Mutex::new(producer),
            pending: watch::Sender::new(0),
            pending_gauge,
            stop: Stop::default(),
            last_told: Mutex::new(None),
        }))
    }

    /// Writes the record, however often that takes, then settles the receipt. When stopped before, it
    /// drops the receipt.
    pub fn write_then_settle(self: &Arc<Self>, topic: Arc<str>, record: Outgoing, receipt: Receipt) {
        self.spawn(topic, record, |written| if written { receipt.settle() } else { drop(receipt) });
    }

    /// Writes the record, however often that takes, unless it is stopped before.
    pub fn write(self: &Arc<Self>, topic: Arc<str>, record: Outgoing) {
        self.spawn(topic, record, |_| ());
    }

    /// How many records are under way.
    pub fn pending(&self) -> usize {
        *self.pending.borrow()
    }

    fn spawn(self: &Arc<Self>, topic: Arc<str>, record: Outgoing, then: impl FnOnce(bool) + Send + 'static) {
        self.pending.send_modify(|pending| *pending += 1);
        self.pending_gauge.increment(1.0);
        let writer = self.clone();
        tokio::spawn(async move {
            let written = tokio::select! {
                () = writer.write_until_acknowledged(&topic, record) => true,
                () = writer.stop.asked() => false,
            };
            then(written);
            writer.pending_gauge.decrement(1.0);
            writer.pending.send_modify(|pending| *pending -= 1);
        });
    }

    pub async fn drained(&self) {
        // The sender is in `self`: the only error, a dropped sender, can't be.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    pub fn stop(&self) {
        self.stop.now();
    }

    async fn write_until_acknowledged(&self, topic: &str, mut record: Outgoing) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.produce(topic, &record).await {
                Ok(()) => break,
                // Waiting does not make it smaller.
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge))
                    if record.has_spare_bytes() =>
                {
                    let (part, bytes) = record.leave_out();
                    error!(
                        topic,
                        "the dead letter of {} is written without its {part} of {bytes} bytes, because the topic does \
                         not take it whole: raise the topic's max.message.bytes",
                        record.place
                    );
                }
                Err(reason) => {
                    self.replace_broken_producer();
                    self.tell(topic, &record, &reason);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        match record.kind {
            Kind::DeadLetter { kind, class } => {
                counter!("outhook_dead_letters_total", "kind" => kind, "class" => class).increment(1);
            }
            Kind::OperatorEvent | Kind::Redriven => {}
            Kind::Retry => counter!("outhook_retries_total", "topic" => topic.to_owned()).increment(1),
        }
    }

    async fn produce(&self, topic: &str, record: &Outgoing) -> Result<(), KafkaError> {
        let producer = self.lock_producer().clone();
        produce(&producer, topic, record).await
    }

    /// After a fatal error, such as a sequence that the broker knows otherwise, an idempotent producer refuses
    /// every record for ever.
    fn replace_broken_producer(&self) {
        let mut producer = self.lock_producer();
        if let Some((_, reason)) = producer.client().fatal_error() {
            warn!(%reason, "the producer of {} is replaced after a fatal error", self.what);
            match self.settings.create() {
                Ok(new) => *producer = new,
                Err(reason) => error!(%reason, "the producer of {} can't be made again", self.what),
            }
        }
    }

    fn lock_producer(&self) -> MutexGuard<'_, FutureProducer> {
        self.producer.lock().expect("nothing that holds this lock can panic")
    }

    fn tell(&self, topic: &str, record: &Outgoing, reason: &KafkaError) {
        let mut last = self.last_told.lock().expect("nothing that holds this lock can panic");
        if last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            *last = Some(Instant::now());
            error!(
                topic,
                pending = *self.pending.borrow(),
                "{} can't be written, so their records' offsets wait: {reason} (for one, {})",
                self.what,
                record.place
            );
        }
    }
}

/// Writes a record once; resolves when it is acknowledged.
pub(super) async fn produce(producer: &FutureProducer, topic: &str, record: &Outgoing) -> Result<(), KafkaError> {
    match producer.send(future_record(topic, record), Timeout::Never).await {
        Ok(_) => Ok(()),
        Err((reason, _)) => Err(reason),
    }
}

/// Hands a record to the client, behind all that it was handed before. Waits while the client's own queue is full.
pub(super) async fn begin(
    producer: &FutureProducer,
    topic: &str,
    record: &Outgoing,
) -> Result<DeliveryFuture, KafkaError> {
    loop {
        match producer.send_result(future_record(topic, record)) {
            Ok(delivery) => return Ok(delivery),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                tokio::time::sleep(QUEUE_FULL_WAIT).await;
            }
            Err((reason, _)) => return Err(reason),
        }
    }
}

/// What Kafka says of a record. A report that never comes is that of a client which is gone.
pub(super) fn outcome(delivered: <DeliveryFuture as Future>::Output) -> Result<(), KafkaError> {
    match delivered {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((reason, _))) => Err(reason),
        Err(_) => Err(KafkaError::Canceled),
    }
}

/// The record as the client takes it.
fn future_record<'r>(topic: &'r str, record: &'r Outgoing) -> FutureRecord<'r, [u8], [u8]> {
    FutureRecord {
        topic,
        partition: None,
        payload: record.value.as_deref(),
        key: record.key.as_deref(),
        timestamp: None,
        headers: Some(record.headers.clone().into_inner()),
    }
}

/// Gives the recorder the descriptions of this stage's metrics.
pub fn describe_metrics() {
    describe_counter!("outhook_dead_letters_total", "Dead letters written and acknowledged, by kind and cause");
    describe_gauge!("outhook_dead_letters_pending", "Dead letters not acknowledged yet; their offsets wait");
    describe_counter!(
        "outhook_redriven_total",
        "Calls that somebody sent out again over this instance's API, by how: redrive of a dead letter, or resend"
    );
    describe_counter!("outhook_operator_events_total", "What operators should know of endpoints, by kind");
    describe_counter!(
        "outhook_operator_events_left_out_total",
        "Operator events that were not written, because too many were on their way"
    );
    describe_counter!("outhook_retries_total", "Calls that went to wait in a retry topic, by topic");
    describe_gauge!(
        "outhook_retries_pending",
        "Calls on their way to a retry topic, not acknowledged yet; their offsets wait"
    );
    describe_gauge!(
        "outhook_row_order_pending",
        "Calls on their way to the topic of row order, not acknowledged yet; their offsets wait"
    );
    describe_gauge!("outhook_operator_events_pending", "Operator events on their way to their topic");
}
