//! How many messages, calls and errors each event had in the last 30 days, over the whole group and across
//! restarts; and what keeps the catalogue across them, and carries what instances say of endpoints.
//!
//! Who counts adds to numbers in memory (`matching::Counts`). A thread of its own adds them up by hour, writes
//! what changed to a compacted topic every few seconds, and follows that topic, where every other run's counts
//! are. So counting waits for nobody; a kill loses what was counted since the last write; and what is sent
//! again after a crash is counted again.

mod config;
mod keeper;
mod reading;
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
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use self::keeper::Keeper;
use self::record::Run;
use self::sums::Sums;
use self::writer::StatsWriter;
use crate::catalogue::Catalogue;
use crate::endpoints::Endpoints;
use crate::id::EventId;
use crate::matching::Index;
use crate::store::{DefinitionsLog, StoreError};

pub use self::config::Config;
pub use self::reading::{catalogue, endpoints, retry_now};
pub use crate::rules::Totals;

/// How long records are kept by a topic that is created: a day longer than they count.
pub const RETENTION: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// How large a segment of a topic that is created may become. Only closed ones are compacted, and all of them are
/// read at each start.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// How long a broker may hold a request open at the end of the topic, and so how soon that end is told.
const FETCH_WAIT: Duration = Duration::from_millis(250);

/// How much the client may fetch ahead, which a large topic fills at the start.
const FETCH_QUEUE_KIB: &str = "8192";

/// The settings of the client that writes counts.
pub fn client(kafka: &HashMap<String, String>) -> ClientConfig {
    StatsWriter::settings(kafka)
}

/// Counts of the whole group.
pub struct Stats {
    shared: Arc<Shared>,
    caught_up: watch::Receiver<bool>,
    stop: Arc<AtomicBool>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// Why nothing can be counted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Reader(#[from] StoreError),
    #[error("the Kafka client that writes counts to topic {topic} can't be made: {source}")]
    Writer { topic: String, source: Box<KafkaError> },
    #[error("the operating system gives no random number for this run's name")]
    Random,
    #[error("the thread that keeps the counts can't be started: {0}")]
    Thread(std::io::Error),
}

/// What the thread and those who ask share.
struct Shared {
    sums: Mutex<Sums>,
    /// Holds what was counted and not yet added to the sums.
    index: Arc<Index>,
    catalogue: Arc<Catalogue>,
    endpoints: Arc<Endpoints>,
}

impl Stats {
    /// Begins to read the topic and to write to it; does not wait for a broker. While brokers are away, counts
    /// wait in memory.
    ///
    /// # Errors
    /// The Kafka properties make no client.
    pub fn start(
        config: &Config,
        kafka: &HashMap<String, String>,
        index: Arc<Index>,
        (catalogue, endpoints): (Arc<Catalogue>, Arc<Endpoints>),
    ) -> Result<Arc<Self>, Error> {
        let topic = config.topic.clone();
        let of_log = crate::store::Config { topic: topic.clone(), ..crate::store::Config::default() };
        let mut of_reader = kafka.clone();
        of_reader.entry("queued.max.messages.kbytes".to_owned()).or_insert_with(|| FETCH_QUEUE_KIB.to_owned());
        let mut log = DefinitionsLog::open(&of_log, &of_reader, FETCH_WAIT)?;
        log.restart()?;
        let writer = StatsWriter::new(&topic, kafka)
            .map_err(|source| Error::Writer { topic: topic.clone(), source: Box::new(source) })?;
        let shared = Arc::new(Shared { sums: Mutex::new(Sums::new(random_run()?)), index, catalogue, endpoints });
        let (tell_caught_up, caught_up) = watch::channel(false);
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = Keeper::new(topic, writer, shared.clone(), tell_caught_up);
        let stopped = stop.clone();
        let keeper = thread::Builder::new()
            .name("stats".to_owned())
            .spawn(move || keeper.keep(log, &stopped))
            .map_err(Error::Thread)?;
        Ok(Arc::new(Self { shared, caught_up, stop, keeper: Mutex::new(Some(keeper)) }))
    }

    /// What the group counted of an event in the last 30 days: of this instance up to now, of the others up to
    /// a few seconds ago.
    pub fn totals_of(&self, event: EventId) -> Totals {
        self.totals_of_all([event])
    }

    /// The sum over events, such as those of a webhook.
    pub fn totals_of_all(&self, events: impl IntoIterator<Item = EventId>) -> Totals {
        // Nothing is moved from the counts to the sums meanwhile, so nothing is missed or seen twice.
        let sums = self.shared.sums();
        let mut all = Totals::default();
        for event in events {
            all += sums.of(event);
            all += self.shared.index.counts().untaken(event);
        }
        all
    }

    /// Whether the topic has been read to its end once; until then the totals lack what others counted.
    pub fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Resolves when the topic has been read to its end once, or the stats were stopped before.
    pub async fn caught_up(&self) {
        // An error says that the thread has ended.
        let _ = self.caught_up.clone().wait_for(|caught_up| *caught_up).await;
    }

    /// Writes what is not written yet, as far as Kafka takes it soon; resolves when the thread has ended.
    pub async fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper {
            let ended = tokio::task::spawn_blocking(|| keeper.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the thread that keeps the counts had died");
            }
        }
    }
}

impl Drop for Stats {
    /// What nobody asks any more is written once more; the thread ends by itself.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock()
    }

    /// Adds what was counted since the last time to the sums of an hour.
    fn collect(&self, hour: u32) {
        let mut sums = self.sums();
        sums.move_to(hour);
        self.index.counts().take(|event, totals| sums.add(event, hour, totals));
    }
}

fn random_run() -> Result<Run, Error> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(Run(u64::from_be_bytes(bytes)))
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
        "Records that the stats topic did not take; they are written again"
    );
    describe_counter!(
        "outhook_stats_records_bad_total",
        Unit::Count,
        "Records of the stats topic that are no counts, tables, or orders to retry"
    );
}
