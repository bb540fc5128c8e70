//! The Kafka clients that write: how they are set, and one that is made anew when it is broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, Message as _};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, FutureProducer, FutureRecord, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;
use tracing::warn;

use super::outgoing::{Outgoing, OutgoingKind};
use crate::render::MAX_MESSAGE_BYTES;

/// The most that records take which wait in the client to be sent, beside what the byte budget counts, in KiB.
const CLIENT_QUEUE_KIB: &str = "32768";

/// How long a client whose own queue is full is left alone.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);

/// The same where many wait for it at once, each on its own.
const LONG_QUEUE_FULL_WAIT: Duration = Duration::from_millis(100);

/// How long a client's thread waits at a time. In the last millisecond of it the binding spins, which made up half a
/// percent of a core with the 100 ms of its own thread.
const POLL: Duration = Duration::from_secs(10);

/// How often it is looked whether a client that is given up has reported all that it had.
const RETIRE_LOOK: Duration = Duration::from_millis(20);

/// The largest record: a message as it was, and what its headers and framing add.
pub const MAX_RECORD_BYTES: usize = MAX_MESSAGE_BYTES + 2 * 1024 * 1024;

/// What a producer needs, beside how the cluster is reached, so that what it says is written is written.
pub fn settings(client: &ClientConfig, timeout_ms: &str) -> ClientConfig {
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

/// The same for one that writes each record in a batch of its own. A topic's max.message.bytes is that of batches, so
/// only of such a one is known which record is too large; and none of its records is refused for the size of another.
pub fn alone(settings: &ClientConfig) -> ClientConfig {
    let mut settings = settings.clone();
    settings.set("batch.num.messages", "1");
    settings
}

/// Whether a topic, or the client, does not take a record or its batch for its size.
pub fn is_too_large(reason: &KafkaError) -> bool {
    use RDKafkaErrorCode::{MessageBatchTooLarge, MessageSizeTooLarge};
    // The second is of a batch that is larger than the topic's segments.
    matches!(reason, KafkaError::MessageProduction(MessageSizeTooLarge | MessageBatchTooLarge))
}

/// Is told once what became of a record: that it is acknowledged, or why not, with the record. It is called in the
/// client's own thread, so it must not wait.
pub(super) type Report = Box<dyn FnOnce(Result<(), (KafkaError, Outgoing)>) + Send + Sync>;

/// A client, with a thread that hands on what it reports.
struct PolledProducer {
    producer: BaseProducer<Reports>,
    /// Nothing is left to report.
    is_over: AtomicBool,
}

/// Hands on what the client reports of each record.
struct Reports;

/// What is kept of a record that the client has a copy of.
struct UnderWay {
    kind: OutgoingKind,
    place: String,
    report: Report,
}

impl PolledProducer {
    fn start(settings: &ClientConfig) -> Result<Arc<Self>, KafkaError> {
        let producer = settings.create_with_context(Reports)?;
        let client = Arc::new(Self { producer, is_over: AtomicBool::new(false) });
        let polled = client.clone();
        thread::spawn(move || {
            while !polled.is_over.load(Ordering::Acquire) {
                polled.producer.poll(POLL);
            }
        });
        Ok(client)
    }

    /// Has all that it was handed reported as not written.
    fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    fn is_broken(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }

    /// Lets it go once all that it was handed is reported, which takes a thread, since it may be called in the client's.
    fn retire(self: Arc<Self>) {
        thread::spawn(move || {
            while self.producer.in_flight_count() > 0 {
                self.purge();
                thread::sleep(RETIRE_LOOK);
            }
            self.is_over.store(true, Ordering::Release);
        });
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<UnderWay>;

    fn delivery(&self, result: &DeliveryResult<'_>, under_way: Box<UnderWay>) {
        let UnderWay { kind, place, report } = *under_way;
        report(match result {
            Ok(_) => Ok(()),
            Err((reason, record)) => {
                let copied = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
                let (key, value) = (copied(record.key()), copied(record.payload()));
                let headers = record.headers().map(BorrowedHeaders::detach).unwrap_or_default().into();
                Err((reason.clone(), Outgoing { kind, place, key, value, headers }))
            }
        });
    }
}

/// A producer that is made when there is something to write, and anew when it is broken.
pub(super) struct Renewed {
    settings: ClientConfig,
    producer: RwLock<Option<Arc<PolledProducer>>>,
}

impl Renewed {
    pub fn new(settings: ClientConfig) -> Self {
        Self { settings, producer: RwLock::default() }
    }

    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// The Kafka client refuses its settings.
    pub fn make(&self) -> Result<(), KafkaError> {
        self.get().map(drop)
    }

    /// Hands a record to the client, which has a copy of it from then on. Never waits. What is not taken is reported at
    /// once.
    pub fn begin(&self, topic: &str, record: Outgoing, report: Report) {
        let client = match self.get() {
            Ok(client) => client,
            Err(reason) => return report(Err((reason, record))),
        };
        let Outgoing { kind, place, key, value, headers } = record;
        let taken = client.producer.send(BaseRecord {
            topic,
            partition: None,
            payload: value.as_deref(),
            key: key.as_deref(),
            timestamp: None,
            headers: Some(headers.into_inner()),
            delivery_opaque: Box::new(UnderWay { kind, place, report }),
        });
        if let Err((reason, back)) = taken {
            let (headers, UnderWay { kind, place, report }) = (back.headers, *back.delivery_opaque);
            let headers = headers.unwrap_or_default().into();
            report(Err((reason, Outgoing { kind, place, key, value, headers })));
        }
    }

    /// Writes a record once; resolves when it is acknowledged. Waits while the client's own queue is full.
    pub async fn write(&self, topic: &str, record: &Outgoing) -> Result<(), KafkaError> {
        loop {
            let (report, reported) = oneshot::channel();
            let told = move |result: Result<(), (KafkaError, Outgoing)>| {
                // Nobody may wait for it any more.
                let _ = report.send(result.map_err(|(reason, _)| reason));
            };
            self.begin(topic, record.clone(), Box::new(told));
            match reported.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(reason)) if is_queue_full(&reason) => tokio::time::sleep(LONG_QUEUE_FULL_WAIT).await,
                Ok(Err(reason)) => {
                    self.drop_broken();
                    return Err(reason);
                }
                Err(_) => return Err(KafkaError::Canceled),
            }
        }
    }

    /// After a fatal error, such as a sequence that the broker knows otherwise, an idempotent producer refuses
    /// every record for ever.
    pub fn drop_broken(&self) {
        if !self.read().as_ref().is_some_and(|client| client.is_broken()) {
            return;
        }
        let mut producer = self.producer.write();
        if let Some(broken) = producer.take_if(|client| client.is_broken()) {
            if let Some((_, reason)) = broken.producer.client().fatal_error() {
                warn!(%reason, "a producer is replaced after a fatal error");
            }
            broken.retire();
        }
    }

    /// Gives up all that the client has: it is reported as not written, as soon as the client's threads come to it, for
    /// which this waits.
    pub fn purge(&self) {
        let client = self.read().clone();
        if let Some(client) = client {
            client.purge();
        }
    }

    fn get(&self) -> Result<Arc<PolledProducer>, KafkaError> {
        if let Some(client) = &*self.read() {
            return Ok(client.clone());
        }
        let mut producer = self.producer.write();
        match &*producer {
            Some(client) => Ok(client.clone()),
            None => {
                let made = PolledProducer::start(&self.settings)?;
                Ok(producer.insert(made).clone())
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Arc<PolledProducer>>> {
        self.producer.read()
    }
}

impl Drop for Renewed {
    fn drop(&mut self) {
        if let Some(client) = self.producer.get_mut().take() {
            client.retire();
        }
    }
}

pub(super) fn is_queue_full(reason: &KafkaError) -> bool {
    matches!(reason, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))
}

/// Hands a record to the client, behind all that it was handed before. Waits while the client's own queue is full.
pub async fn begin(producer: &FutureProducer, topic: &str, record: &Outgoing) -> Result<DeliveryFuture, KafkaError> {
    loop {
        match producer.send_result(future_record(topic, record)) {
            Ok(delivery) => return Ok(delivery),
            Err((reason, _)) if is_queue_full(&reason) => tokio::time::sleep(QUEUE_FULL_WAIT).await,
            Err((reason, _)) => return Err(reason),
        }
    }
}

/// What Kafka says of a record. A report that never comes is that of a client which is gone.
pub fn outcome(delivered: <DeliveryFuture as Future>::Output) -> Result<(), KafkaError> {
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
