//! Kafka clients that write: their settings, and a producer that is recreated when it is broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, Message as _};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, FutureProducer, FutureRecord, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;
use tracing::warn;

use super::outgoing::{Outgoing, OutgoingKind};
use crate::kafka::errors::is_queue_full;
use crate::render::MAX_MESSAGE_BYTES;

/// Wait after a failed write. It doubles up to the longest.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Timeout of one write. After it the write counts as failed and is repeated.
pub(super) const WRITE_TIMEOUT_MS: &str = "30000";

/// Min interval between two log lines of failed writes.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(60);

/// Max size of the records that wait in the client to be sent, in KiB. It comes on top of the byte budget.
const CLIENT_QUEUE_KIB: &str = "32768";

/// Wait before the next try when a client's queue is full.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);

/// The same where many tasks wait at the same time, each separately.
const LONG_QUEUE_FULL_WAIT: Duration = Duration::from_millis(100);

/// Duration of one poll of a client's thread. The binding spins in the last millisecond of each poll. The 100 ms of
/// the binding's own thread made that half a percent of a core.
const POLL: Duration = Duration::from_secs(10);

/// Interval of the checks whether a retired client has reported all its records.
const RETIRE_LOOK: Duration = Duration::from_millis(20);

/// Max size of a record: a message, and what headers and framing add.
pub const MAX_RECORD_BYTES: usize = MAX_MESSAGE_BYTES + 2 * 1024 * 1024;

/// Settings of a producer whose acknowledged records are really written. `client` has the connection settings.
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

/// The same with one record per batch. A topic's max.message.bytes limits batches. So only a batch of one record shows
/// which record is too large, and no record is refused for the size of another.
pub fn alone(settings: &ClientConfig) -> ClientConfig {
    let mut settings = settings.clone();
    settings.set("batch.num.messages", "1");
    settings
}

/// Callback for the outcome of one record, called once: acknowledged, or the reason why not, with the record. It runs
/// in the client's own thread, so it must not wait.
pub(super) type Report = Box<dyn FnOnce(Result<(), (KafkaError, Outgoing)>) + Send + Sync>;

/// A client, with a thread that polls it for delivery reports.
struct PolledProducer {
    producer: BaseProducer<Reports>,
    /// All records are reported: the thread ends.
    is_over: AtomicBool,
}

/// Passes the client's delivery report of each record to its callback.
struct Reports;

/// Data kept about a record of which the client has a copy.
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

    /// Makes the client report all its records as not written.
    fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    fn is_broken(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }

    /// Ends the polling thread once all records are reported. Waits for that in a separate thread, since it may be
    /// called in the client's.
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

/// A producer that is created when there is something to write, and recreated when it is broken.
pub(super) struct Renewed {
    settings: ClientConfig,
    producer: RwLock<Option<Arc<PolledProducer>>>,
}

impl Renewed {
    pub fn new(settings: ClientConfig) -> Self {
        Self { settings, producer: RwLock::default() }
    }

    /// Creates the producer, if there is none.
    ///
    /// # Errors
    /// The Kafka client refuses its settings.
    pub fn make(&self) -> Result<(), KafkaError> {
        self.get().map(drop)
    }

    /// Hands a record to the client, which then has a copy of it. Never waits. A record that the client refuses is
    /// reported immediately.
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

    /// Writes a record once. Resolves when it is acknowledged. Waits while the client's own queue is full.
    pub async fn write(&self, topic: &str, record: &Outgoing) -> Result<(), KafkaError> {
        loop {
            let (report, reported) = oneshot::channel();
            let told = move |result: Result<(), (KafkaError, Outgoing)>| {
                // The receiver may be gone.
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

    /// Drops the producer after a fatal error, such as a sequence number that differs from the broker's. An idempotent
    /// producer refuses every record after such an error.
    pub fn drop_broken(&self) {
        if !self.read().as_ref().is_some_and(|client| client.is_broken()) {
            return;
        }
        let mut producer = self.producer.write();
        if let Some(broken) = producer.take_if(|client| client.is_broken()) {
            if let Some((_, reason)) = broken.producer.client().fatal_error() {
                warn!(%reason, "the Kafka producer is replaced after a fatal error");
            }
            broken.retire();
        }
    }

    /// Drops all records that the client has. Its threads report each as not written; this waits for them.
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

/// Hands a record to the client, behind all earlier ones. Waits while the client's own queue is full.
pub async fn begin(producer: &FutureProducer, topic: &str, record: &Outgoing) -> Result<DeliveryFuture, KafkaError> {
    loop {
        match producer.send_result(future_record(topic, record)) {
            Ok(delivery) => return Ok(delivery),
            Err((reason, _)) if is_queue_full(&reason) => tokio::time::sleep(QUEUE_FULL_WAIT).await,
            Err((reason, _)) => return Err(reason),
        }
    }
}

/// Outcome of a write. A report that never arrives counts as cancelled: the client is gone.
pub fn outcome(delivered: <DeliveryFuture as Future>::Output) -> Result<(), KafkaError> {
    match delivered {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((reason, _))) => Err(reason),
        Err(_) => Err(KafkaError::Canceled),
    }
}

/// Converts the record to the client's type.
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
