//! Definitions in Kafka: reads the definitions topic, follows it, and writes to it in fenced transactions.
//!
//! The topic is a log of one compacted partition, so every instance reads the same records in the same order.
//! `definitions_log` reads it. `state` holds the definitions that were read, and updates the index of compiled rules.
//! `follower` keeps the state at the end of the log. `writer` appends records and applies them to the state.

mod compile;
mod config;
mod definitions_log;
mod disable_webhook;
mod follower;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod write_failure;
mod write_request;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::follower::{FETCH_WAIT, Follower};
use self::state::StoreState;
use self::write_request::{PendingWrite, WriteRequest};
use self::writer::DefinitionsWriter;
use crate::definition::{Definitions, LogRecord, OpenError, PendingDefinitions};
use crate::kafka::log_follower::LogFollower;
use crate::kafka::{ClientConfig, TopicError};
use crate::matching::Index;

pub use self::config::Config;
pub use self::status::{BadDefinition, FollowStatus, describe_metrics};
pub use self::write_failure::WriteFailure;
pub use self::write_request::WriteError;
pub use crate::store::definitions_log::{end, read, read_with_end};

/// Settings of the Kafka clients that read and write definitions.
pub fn client_configs(config: &Config, kafka: &HashMap<String, String>) -> (ClientConfig, ClientConfig) {
    let client: ClientConfig = kafka.clone().into_iter().collect();
    let reader = LogFollower::settings(&config.topic, client, FETCH_WAIT);
    (reader, writer::settings(&config.topic, kafka))
}

/// Max queued writes. When the queue is full, [`Store::write`] waits for a place in it.
const MAX_QUEUED_WRITES: usize = 1024;

/// Max time for writes under way to finish at a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why definitions can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(
        "topic {topic} has {partitions} partitions, but records are ordered only within one: recreate it with \
         `outhook topics create`"
    )]
    Partitions { topic: String, partitions: usize },
    #[error(
        "topic {topic} could not be read to its end: no record came for {seconds} seconds; the last \
         error was: {trouble}"
    )]
    Stalled { topic: String, seconds: u64, trouble: String },
    #[error(
        "the definitions in topic {topic} are incomplete: record {record} can't be opened: {why}. Add the key to \
         definitions.secret_keys, after the key that seals new secrets"
    )]
    Sealed { topic: String, record: String, why: OpenError },
    #[error("a thread for the definitions can't be started: {0}")]
    Thread(std::io::Error),
    #[error("the definitions are not available: the store was stopped")]
    Stopped,
}

/// Current definitions, and the index of rules compiled from them.
pub struct Store {
    state: Arc<StoreState>,
    status: watch::Receiver<Arc<FollowStatus>>,
    /// None once the store is stopped.
    request_sender: Mutex<Option<mpsc::Sender<Box<dyn WriteRequest>>>>,
    /// Requests a stop from the threads, also on drop. They are not joined then.
    stop: DropGuard,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Starts following the log. Does not wait for a broker. While brokers are unreachable, the definitions do not
    /// change.
    ///
    /// # Errors
    /// A Kafka client can't be created from the properties, or a thread can't be started.
    pub fn start(
        config: &Config,
        kafka: &HashMap<String, String>,
        index: Arc<Index>,
    ) -> Result<Arc<Store>, StoreError> {
        let state = Arc::new(StoreState::new(&config.topic, &config.secret_keys, Some(index)));
        let mut log = definitions_log::open(config, kafka, FETCH_WAIT)?;
        log.restart()?;
        let stopping = CancellationToken::new();
        let stop = stopping.clone().drop_guard();
        let follower = Follower { topic: config.topic.clone(), log, state: state.clone(), stopping: stopping.clone() };
        let writer = DefinitionsWriter::new(config, kafka, state.clone())?.stopped_by(stopping);
        let (requests, to_write) = mpsc::channel(MAX_QUEUED_WRITES);
        let threads = vec![
            spawn("definitions", move || follower.follow())?,
            spawn("definitions-writer", move || writer.serve(to_write))?,
        ];
        let status = state.status();
        let requests = Mutex::new(Some(requests));
        Ok(Arc::new(Store { state, status, request_sender: requests, stop, threads: Mutex::new(threads) }))
    }

    /// Resolves when the log has been read to its end and the index holds all its rules.
    ///
    /// # Errors
    /// The store was stopped first.
    pub async fn wait_until_caught_up(&self) -> Result<(), StoreError> {
        let mut status = self.status.clone();
        tokio::select! {
            biased;
            caught_up = status.wait_for(|status| status.caught_up) => caught_up.map(drop).map_err(|_| StoreError::Stopped),
            () = self.stop.token().cancelled() => Err(StoreError::Stopped),
        }
    }

    /// Resolves when the definitions become incomplete, and returns the reason: a secret is sealed with a key that is
    /// not configured here. The definitions known before stay in use until this instance has stopped.
    pub async fn wait_until_locked_out(&self) -> StoreError {
        let mut status = self.status.clone();
        // An error says that the store was dropped. Then there is nothing to report.
        let _ = status.wait_for(|status| status.locked_out).await;
        match self.state.check_complete() {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    pub fn status(&self) -> Arc<FollowStatus> {
        self.status.borrow().clone()
    }

    /// Offset after the last record of the log that this instance has applied.
    pub fn applied_offset(&self) -> i64 {
        self.state.next()
    }

    /// Calls `look` with the definitions. They can't change meanwhile, so `look` should be short.
    pub fn with<T>(&self, look: impl FnOnce(&Definitions) -> T) -> T {
        look(&self.state.definitions())
    }

    /// Writes the records that `decide` returns for the current definitions, all or none. Returns the other value of
    /// `decide` once the records are written and this instance has applied them.
    ///
    /// `decide` may be called several times, each time with newer definitions.
    ///
    /// # Errors
    /// `decide` refused, the topic can't be read, Kafka does not accept the records, or the store was stopped.
    pub async fn write<T, E, D>(&self, decide: D) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        D: FnMut(&PendingDefinitions<'_>) -> Result<(Vec<LogRecord>, T), E> + Send + 'static,
    {
        let requests = self.request_sender.lock().clone();
        let requests = requests.ok_or(StoreError::Stopped)?;
        let (decision, outcome) = PendingWrite::new(decide);
        requests.send(Box::new(decision)).await.map_err(|_| StoreError::Stopped)?;
        outcome.await.map_err(|_| StoreError::Stopped)?
    }

    /// Finishes queued writes, as far as brokers accept them within `STOP_TIMEOUT`, and stops following.
    pub async fn stop(&self) {
        self.stop.token().cancel();
        drop(self.request_sender.lock().take());
        let threads = std::mem::take(&mut *self.threads.lock());
        let ended = tokio::task::spawn_blocking(|| threads.into_iter().map(JoinHandle::join).all(|end| end.is_ok()));
        match tokio::time::timeout(STOP_TIMEOUT, ended).await {
            Ok(Ok(true)) => {}
            Ok(_) => tracing::error!("a thread that follows or writes the definitions panicked"),
            Err(_) => tracing::warn!(
                "a write of definitions still waits for brokers and is abandoned; its client gets no answer"
            ),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(StoreError::Thread)
}

/// Writes once, without following the log; see [`Store::write`].
///
/// # Errors
/// `decide` refused, the topic is missing or has several partitions, or Kafka does not accept the records.
pub async fn write<T, E, D>(config: &Config, kafka: &HashMap<String, String>, decide: D) -> Result<T, WriteError<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    D: FnMut(&PendingDefinitions<'_>) -> Result<(Vec<LogRecord>, T), E> + Send + 'static,
{
    let state = Arc::new(StoreState::new(&config.topic, &config.secret_keys, None));
    let mut writer = DefinitionsWriter::new(config, kafka, state)?;
    let (decision, mut outcome) = PendingWrite::new(decide);
    let written = tokio::task::spawn_blocking(move || {
        writer.check()?;
        // Most of the log is read before the transactional id is taken over. So little time passes between taking
        // over and committing.
        writer.catch_up()?;
        writer.write(vec![Box::new(decision)]);
        Ok::<_, StoreError>(outcome.try_recv().expect("a write answers its request"))
    });
    written.await.expect("writing definitions does not panic")?
}
