//! The feed: produces sample changes to the changes topic at a steady rate, and announces each to the oracle first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::broker::CHANGES;
use super::oracle::Oracle;
use super::sample::{Change, Sample, SampleEvent};
use super::steady_rate::SteadyRate;

/// Interval between bursts of due changes.
const TICK: Duration = Duration::from_millis(5);

/// Max outstanding messages before the feed waits. About half of the changes fire, so a partition holds at most about
/// 2 MB of unconsumed records. The embedded broker keeps 5 MB.
const MAX_OUTSTANDING: usize = 8_192;

/// Max time for the last changes to reach the broker.
const FLUSH: Duration = Duration::from_secs(10);

/// Returns the messages of a change if it fired all events of its table: each with its event and its id.
pub type MessagesOf = Box<dyn Fn(&Change) -> Vec<(SampleEvent, u128)> + Send + Sync>;

/// Producer of sample changes.
pub struct Feed {
    sample: Sample,
    pace: SteadyRate,
    producer: ThreadedProducer<Failures>,
    messages_of: MessagesOf,
    oracle: Arc<Mutex<Oracle>>,
    made: Arc<AtomicU64>,
}

impl Feed {
    /// `rate` is in changes per second.
    ///
    /// # Errors
    /// The producer can't be created.
    pub fn new(
        broker: &str,
        rate: u32,
        seed: u64,
        messages_of: MessagesOf,
        oracle: Arc<Mutex<Oracle>>,
    ) -> Result<Self, KafkaError> {
        let producer =
            ClientConfig::new().set("bootstrap.servers", broker).set("linger.ms", "1").create_with_context(Failures)?;
        let (sample, pace, made) = (Sample::new(seed), SteadyRate::new(rate), Arc::default());
        Ok(Self { sample, pace, producer, messages_of, oracle, made })
    }

    /// Counter of the changes made.
    pub fn made(&self) -> Arc<AtomicU64> {
        self.made.clone()
    }

    /// Produces until asked to stop, then waits until the broker has all records.
    ///
    /// # Errors
    /// The producer refuses a record, or the broker does not accept the last ones in time.
    pub async fn run(mut self, stopping: CancellationToken) -> Result<(), KafkaError> {
        let start = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                now = ticks.tick() => {
                    let due = self.pace.due(now.duration_since(start));
                    self.produce(due).await?;
                }
            }
        }
        let producer = self.producer;
        tokio::task::spawn_blocking(move || producer.flush(FLUSH)).await.expect("flushing does not panic")
    }

    /// Produces the due changes. Stops at the limit of outstanding messages; the rest is not made up for later.
    async fn produce(&mut self, due: u32) -> Result<(), KafkaError> {
        for _ in 0..due {
            let now = Timestamp::now();
            let change = self.sample.next(now);
            if self.announce(&change, now) > MAX_OUTSTANDING {
                self.send(&change).await?;
                break;
            }
            self.send(&change).await?;
        }
        Ok(())
    }

    /// Announces to the oracle which messages of the change must and must not arrive. Returns the number outstanding.
    fn announce(&self, change: &Change, now: Timestamp) -> usize {
        let mut oracle = self.oracle.lock();
        for (event, message) in (self.messages_of)(change) {
            if change.fires.contains(&event) { oracle.expect(message, now) } else { oracle.forbid(message) }
        }
        oracle.outstanding()
    }

    async fn send(&self, change: &Change) -> Result<(), KafkaError> {
        let mut record = BaseRecord::to(CHANGES).key(&change.key).payload(&change.record);
        while let Err((error, refused)) = self.producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => tokio::time::sleep(TICK).await,
                other => return Err(other),
            }
            record = refused;
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Logs why a change did not reach the broker. The oracle will count its messages as lost.
struct Failures;

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            tracing::error!(%error, "the embedded broker did not accept a sample change");
        }
    }
}
