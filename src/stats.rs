//! Counts of messages, calls and errors per event over the last 30 days, for the whole group and across restarts.
//! Also stores the catalogue, and passes endpoint reports and retry orders between instances.
//!
//! Counting adds to numbers in memory (`rules::EventCounts`). A separate thread sums them by hour, writes changed
//! counts to a compacted topic every few seconds, and follows that topic to read the counts of all other runs. So
//! counting never waits. A kill loses the counts since the last write. Messages sent again after a crash are counted
//! again.

mod config;
mod keeper;
mod reader;
mod record;
mod sums;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge};
use parking_lot::{Mutex, MutexGuard};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use self::keeper::StatsKeeper;
use self::record::RunId;
use self::sums::CountSums;
use self::writer::StatsWriter;
use crate::catalogue::Catalogue;
use crate::endpoints::Endpoints;
use crate::id::EventId;
use crate::kafka::log_follower::LogFollower;
use crate::kafka::{ClientConfig, KafkaError, TopicError};
use crate::matching::Index;

pub use self::config::Config;
pub use crate::rules::Totals;
pub use crate::stats::reader::{catalogue, read_endpoints, write_retry_orders};

/// Retention of a topic that is created: a day longer than the 30 days that are summed.
pub const RETENTION: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Max segment size of a topic that is created. Kafka compacts only closed segments, and every start reads all
/// segments.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Max time that a broker may hold a request open at the end of the topic, and so the delay until the end is
/// reported.
const FETCH_WAIT: Duration = Duration::from_millis(250);

/// Max KiB that the client fetches ahead. A large topic fills it at the start.
const FETCH_QUEUE_KIB: &str = "8192";

/// Settings of the client that writes counts.
pub fn client(kafka: &HashMap<String, String>) -> ClientConfig {
    StatsWriter::settings(kafka)
}

/// Counts of the whole group.
pub struct Stats {
    state: Arc<StatsState>,
    caught_up: watch::Receiver<bool>,
    stop: Arc<AtomicBool>,
    keeper_thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why counting can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Reader(#[from] TopicError),
    #[error("the Kafka client that writes counts to topic {topic} can't be created: {source}")]
    Writer { topic: String, source: Box<KafkaError> },
    #[error("the operating system returns no random number for the name of this run")]
    Random,
    #[error("the thread that keeps the counts can't be started: {0}")]
    Thread(std::io::Error),
}

/// State that the thread shares with its readers.
struct StatsState {
    sums: Mutex<CountSums>,
    /// Holds counts that are not added to the sums yet.
    index: Arc<Index>,
    catalogue: Arc<Catalogue>,
    endpoints: Arc<Endpoints>,
}

impl Stats {
    /// Starts reading the topic and writing to it. Does not wait for a broker. While brokers are unreachable, counts
    /// wait in memory.
    ///
    /// # Errors
    /// A Kafka client can't be created from the properties, there is no random number for the run, or the thread
    /// can't be started.
    pub fn start(
        config: &Config,
        kafka: &HashMap<String, String>,
        index: Arc<Index>,
        catalogue: Arc<Catalogue>,
        endpoints: Arc<Endpoints>,
    ) -> Result<Arc<Self>, Error> {
        let topic = config.topic.clone();
        let mut reader_settings = kafka.clone();
        reader_settings.entry("queued.max.messages.kbytes".to_owned()).or_insert_with(|| FETCH_QUEUE_KIB.to_owned());
        let mut log = LogFollower::open(&topic, reader_settings.into_iter().collect(), FETCH_WAIT)?;
        log.restart()?;
        let writer = StatsWriter::new(&topic, kafka)
            .map_err(|source| Error::Writer { topic: topic.clone(), source: Box::new(source) })?;
        let shared =
            Arc::new(StatsState { sums: Mutex::new(CountSums::new(random_run()?)), index, catalogue, endpoints });
        let (tell_caught_up, caught_up) = watch::channel(false);
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = StatsKeeper::new(topic, writer, shared.clone(), tell_caught_up);
        let stopped = stop.clone();
        let keeper = thread::Builder::new()
            .name("stats".to_owned())
            .spawn(move || keeper.run(log, &stopped))
            .map_err(Error::Thread)?;
        Ok(Arc::new(Self { state: shared, caught_up, stop, keeper_thread: Mutex::new(Some(keeper)) }))
    }

    /// Counts of an event over the whole group in the last 30 days: of this instance up to now, of other instances up
    /// to a few seconds ago.
    pub fn totals_of(&self, event: EventId) -> Totals {
        self.totals_of_all([event])
    }

    /// Sum of the counts of several events, such as all events of a webhook.
    pub fn totals_of_all(&self, events: impl IntoIterator<Item = EventId>) -> Totals {
        // While the sums are locked, no counts move to them, so no count is missed or added twice.
        let sums = self.state.sums();
        let mut all = Totals::default();
        for event in events {
            all += sums.of(event);
            all += self.state.index.counters().pending_totals(event);
        }
        all
    }

    /// Whether the topic has been read to its end once. Until then the totals lack the counts of other runs.
    pub fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Resolves when the topic has been read to its end once, or the stats were stopped before.
    pub async fn wait_until_caught_up(&self) {
        // An error says that the thread has ended.
        let _ = self.caught_up.clone().wait_for(|caught_up| *caught_up).await;
    }

    /// Writes unwritten counts, as far as Kafka accepts them soon. Resolves when the thread has ended.
    pub async fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let keeper = self.keeper_thread.lock().take();
        if let Some(keeper) = keeper {
            let ended = tokio::task::spawn_blocking(|| keeper.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the thread that keeps the counts panicked");
            }
        }
    }
}

impl Drop for Stats {
    /// Asks the thread to write once more and end. It is not joined.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl StatsState {
    fn sums(&self) -> MutexGuard<'_, CountSums> {
        self.sums.lock()
    }

    /// Adds the counts since the last call to the sums of an hour.
    fn collect(&self, hour: u32) {
        let mut sums = self.sums();
        sums.advance_to(hour);
        self.index.counters().take(|event, totals| sums.add(event, hour, totals));
    }
}

fn random_run() -> Result<RunId, Error> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(RunId(u64::from_be_bytes(bytes)))
}

/// Registers the metrics with their units and descriptions.
pub fn describe_metrics() {
    describe_gauge!(
        "outhook_stats_unwritten",
        Unit::Count,
        "Counts of an event and hour that the stats topic does not have yet, as of the last write"
    );
    describe_counter!(
        "outhook_stats_write_failures_total",
        Unit::Count,
        "Records that the stats topic did not accept; they are written again"
    );
    describe_counter!(
        "outhook_stats_records_bad_total",
        Unit::Count,
        "Records of the stats topic that are not valid counts, tables, or orders to retry"
    );
}
