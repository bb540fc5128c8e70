//! A producer that reports each outcome to a callback, and is recreated when it is broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;
use tracing::warn;

use super::{Headers, NewRecord};
use crate::kafka::errors::is_queue_full;

/// Wait before the next try when the client's queue is full. Many tasks may wait at the same time, each separately.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(100);

/// Duration of one poll of a client's thread. The binding spins in the last millisecond of each poll. The 100 ms of
/// the binding's own thread made that half a percent of a core.
const POLL: Duration = Duration::from_secs(10);

/// Interval of the checks whether a retired client has reported all its records.
const RETIRE_LOOK: Duration = Duration::from_millis(20);

/// Callback for the outcome of one record, called once: acknowledged, or the reason why not, with the record. It runs
/// in the client's own thread, so it must not wait.
pub type Report = Box<dyn FnOnce(Result<(), (KafkaError, NewRecord)>) + Send + Sync>;

/// A producer that is created when there is something to write, and recreated when it is broken.
pub struct RecoveringProducer {
    settings: ClientConfig,
    producer: RwLock<Option<Arc<Client>>>,
}

/// A client, with a thread that polls it for delivery reports.
struct Client {
    producer: BaseProducer<Reports>,
    /// All records are reported: the thread ends.
    is_over: AtomicBool,
}

/// Passes the client's delivery report of each record to its callback.
struct Reports;

impl RecoveringProducer {
    pub fn new(settings: ClientConfig) -> Self {
        Self { settings, producer: RwLock::default() }
    }

    /// Creates the client, if there is none.
    ///
    /// # Errors
    /// The client library refuses the settings.
    pub fn make(&self) -> Result<(), KafkaError> {
        self.get().map(drop)
    }

    /// Hands a record to the client, which then has a copy of it. Never waits. A record that the client refuses is
    /// reported immediately.
    pub fn begin(&self, topic: &str, record: NewRecord, report: Report) {
        let client = match self.get() {
            Ok(client) => client,
            Err(reason) => return report(Err((reason, record))),
        };
        let NewRecord { key, value, headers } = record;
        let taken = client.producer.send(BaseRecord {
            topic,
            partition: None,
            payload: value.as_deref(),
            key: key.as_deref(),
            timestamp: None,
            headers: Some(headers.0),
            delivery_opaque: Box::new(report),
        });
        if let Err((reason, back)) = taken {
            let (headers, report) = (Headers(back.headers.unwrap_or_default()), back.delivery_opaque);
            report(Err((reason, NewRecord { key, value, headers })));
        }
    }

    /// Writes a record once. Resolves when it is acknowledged. Waits while the client's own queue is full.
    ///
    /// # Errors
    /// The record is not acknowledged.
    pub async fn write(&self, topic: &str, record: &NewRecord) -> Result<(), KafkaError> {
        loop {
            let (report, reported) = oneshot::channel();
            let on_result = move |result: Result<(), (KafkaError, NewRecord)>| {
                // The receiver may be gone.
                let _ = report.send(result.map_err(|(reason, _)| reason));
            };
            self.begin(topic, record.clone(), Box::new(on_result));
            match reported.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(reason)) if is_queue_full(&reason) => tokio::time::sleep(QUEUE_FULL_WAIT).await,
                Ok(Err(reason)) => {
                    self.drop_broken();
                    return Err(reason);
                }
                Err(_) => return Err(KafkaError::Canceled),
            }
        }
    }

    /// Drops the client after a fatal error, such as a sequence number that differs from the broker's. An idempotent
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

    fn get(&self) -> Result<Arc<Client>, KafkaError> {
        if let Some(client) = &*self.read() {
            return Ok(client.clone());
        }
        let mut producer = self.producer.write();
        match &*producer {
            Some(client) => Ok(client.clone()),
            None => Ok(producer.insert(Client::start(&self.settings)?).clone()),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Arc<Client>>> {
        self.producer.read()
    }
}

impl Drop for RecoveringProducer {
    fn drop(&mut self) {
        if let Some(client) = self.producer.get_mut().take() {
            client.retire();
        }
    }
}

impl Client {
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
    // The client keeps a thin pointer.
    type DeliveryOpaque = Box<Report>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Box<Report>) {
        match result {
            Ok(_) => report(Ok(())),
            Err((reason, record)) => report(Err((reason.clone(), NewRecord::copy(record)))),
        }
    }
}
