//! Writes dead letters until they are acknowledged.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::{Gauge, counter, describe_counter, describe_gauge, gauge};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use tokio::sync::watch;
use tracing::{error, warn};

use super::dead_letter::DeadLetter;
use crate::lifecycle::Stop;
use crate::receipt::Receipt;
use crate::render::MAX_MESSAGE_BYTES;

/// The wait after a write that failed, doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long one write may take before it counts as failed and is tried again.
const WRITE_TIMEOUT_MS: &str = "30000";

/// How often it is told that dead letters can't be written.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The largest dead letter: a message as it was, and what its headers and framing add.
pub const MAX_RECORD_BYTES: usize = MAX_MESSAGE_BYTES + 2 * 1024 * 1024;

pub(super) struct Writer {
    settings: ClientConfig,
    producer: Mutex<FutureProducer>,
    topic: String,
    /// How many dead letters are under way.
    pending: watch::Sender<usize>,
    pending_gauge: Gauge,
    stop: Stop,
    last_told: Mutex<Option<Instant>>,
}

impl Writer {
    pub fn new(topic: &str, client: &ClientConfig) -> Result<Arc<Self>, String> {
        let mut settings = client.clone();
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("message.timeout.ms", WRITE_TIMEOUT_MS)
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string());
        let producer =
            settings.create().map_err(|reason| format!("the producer of dead letters can't be made: {reason}"))?;
        Ok(Arc::new(Self {
            settings,
            producer: Mutex::new(producer),
            topic: topic.to_owned(),
            pending: watch::Sender::new(0),
            pending_gauge: gauge!("outhook_dead_letters_pending"),
            stop: Stop::default(),
            last_told: Mutex::new(None),
        }))
    }

    /// Writes the dead letter, however often that takes, then settles the receipt. When stopped before, it
    /// drops the receipt.
    pub fn write_then_settle(self: &Arc<Self>, letter: DeadLetter, receipt: Receipt) {
        self.pending.send_modify(|pending| *pending += 1);
        self.pending_gauge.increment(1.0);
        let writer = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = writer.write(letter) => receipt.settle(),
                () = writer.stop.asked() => drop(receipt),
            }
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

    async fn write(&self, mut letter: DeadLetter) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.produce(&letter).await {
                Ok(()) => break,
                // Waiting does not make it smaller.
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) if letter.has_bytes() => {
                    let (part, bytes) = letter.leave_out();
                    error!(
                        topic = self.topic,
                        "the dead letter of {} is written without its {part} of {bytes} bytes, because the topic does \
                         not take it whole: raise the topic's max.message.bytes",
                        letter.place
                    );
                }
                Err(reason) => {
                    self.replace_broken_producer();
                    self.tell(&letter, &reason);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        counter!("outhook_dead_letters_total", "kind" => letter.kind, "class" => letter.class).increment(1);
    }

    async fn produce(&self, letter: &DeadLetter) -> Result<(), KafkaError> {
        let record = FutureRecord {
            topic: &self.topic,
            partition: None,
            payload: letter.value.as_deref(),
            key: letter.key.as_deref(),
            timestamp: None,
            headers: Some(letter.headers.clone()),
        };
        let producer = self.lock_producer().clone();
        match producer.send(record, Timeout::Never).await {
            Ok(_) => Ok(()),
            Err((reason, _)) => Err(reason),
        }
    }

    /// After a fatal error, such as a sequence that the broker knows otherwise, an idempotent producer refuses
    /// every record for ever.
    fn replace_broken_producer(&self) {
        let mut producer = self.lock_producer();
        if let Some((_, reason)) = producer.client().fatal_error() {
            warn!(%reason, "the producer of dead letters is replaced after a fatal error");
            match self.settings.create() {
                Ok(new) => *producer = new,
                Err(reason) => error!(%reason, "the producer of dead letters can't be made again"),
            }
        }
    }

    fn lock_producer(&self) -> MutexGuard<'_, FutureProducer> {
        self.producer.lock().expect("nothing that holds this lock can panic")
    }

    fn tell(&self, letter: &DeadLetter, reason: &KafkaError) {
        let mut last = self.last_told.lock().expect("nothing that holds this lock can panic");
        if last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            *last = Some(Instant::now());
            error!(
                topic = self.topic,
                pending = *self.pending.borrow(),
                "dead letters can't be written, so their records' offsets wait: {reason} (for one, {})",
                letter.place
            );
        }
    }
}

/// Gives the recorder the descriptions of this stage's metrics.
pub fn describe_metrics() {
    describe_counter!("outhook_dead_letters_total", "Dead letters written and acknowledged, by kind and cause");
    describe_gauge!("outhook_dead_letters_pending", "Dead letters not acknowledged yet; their offsets wait");
}
