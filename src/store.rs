//! Definitions as a log: read to its end, followed after, written fenced.
//!
//! The log is one compacted partition, so every instance reads the same records in the same order. `log`
//! reads it, `state` holds what it says and keeps the index of compiled rules at it, `follow` keeps the state at
//! the log's end, `writer` adds to both.

mod compile;
mod config;
mod disable_webhook;
mod follower;
mod log;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod write_request;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, watch};

use self::follower::{FETCH_WAIT, Follower};
use self::state::StoreState;
use self::write_request::{Decision, Request};
use self::writer::DefinitionsWriter;
use crate::definition::{CannotOpen, Definitions, LogRecord, PendingDefinitions};
use crate::kafka::errors::Unanswered;
use crate::lifecycle::{self, Stop};
use crate::matching::Index;

pub use self::config::Config;
pub use self::log::{DefinitionsLog, LogEvent, end, read, read_with_end};
pub use self::status::{BadDefinition, FollowStatus, describe_metrics};
pub use self::write_request::WriteError;
pub use self::writer::WriteFailure;

/// The settings of the clients that read and write definitions.
pub fn clients(config: &Config, kafka: &HashMap<String, String>) -> (ClientConfig, ClientConfig) {
    (DefinitionsLog::settings(&config.topic, kafka, FETCH_WAIT), writer::settings(&config.topic, kafka))
}

/// How many writes may wait for their turn; further ones wait to wait.
const WAITING: usize = 1024;

/// How long writes under way may take once a stop is asked for.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Why definitions can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the Kafka client for topic {topic} can't be made: {source}")]
    Client { topic: String, source: Box<KafkaError> },
    #[error("topic {topic} can't be looked up at {brokers}: {reason}")]
    Unreachable { topic: String, brokers: String, reason: Unanswered },
    #[error("there is no topic {topic}: create it with `outhook topics create`")]
    NoTopic { topic: String },
    #[error(
        "topic {topic} has {partitions} partitions, and its records have an order only in one: make it anew with `outhook topics create`"
    )]
    Partitions { topic: String, partitions: usize },
    #[error(
        "topic {topic} could not be read to its end: nothing came for {seconds} seconds; the last trouble was: {trouble}"
    )]
    Stalled { topic: String, seconds: u64, trouble: String },
    #[error("topic {topic} can't be read: {reason}")]
    Denied { topic: String, reason: String },
    #[error(
        "the definitions in topic {topic} are not known as a whole: of {record}, {why}. Add the key to \
         definitions.secret_keys, behind the one that shall seal"
    )]
    Sealed { topic: String, record: String, why: CannotOpen },
    #[error("a thread for the definitions can't be started: {0}")]
    Thread(std::io::Error),
    #[error("the definitions are no longer followed: the store was stopped")]
    Stopped,
}

/// The definitions, held at the log's end, and the index of compiled rules with them.
pub struct Store {
    state: Arc<StoreState>,
    status: watch::Receiver<Arc<FollowStatus>>,
    /// None once it is stopped.
    requests: Mutex<Option<mpsc::Sender<Box<dyn Request>>>>,
    stop: Stop,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Begins to follow the log; does not wait for a broker. While brokers are away the definitions stay as
    /// they are.
    ///
    /// # Errors
    /// The Kafka properties make no client.
    pub fn start(
        config: &Config,
        kafka: &HashMap<String, String>,
        index: Arc<Index>,
    ) -> Result<Arc<Store>, StoreError> {
        let state = Arc::new(StoreState::new(&config.topic, &config.secret_keys, Some(index)));
        let mut log = DefinitionsLog::open(config, kafka, FETCH_WAIT)?;
        log.restart()?;
        let (stop, stopping) = lifecycle::stop();
        let follower = Follower { topic: config.topic.clone(), log, state: state.clone(), stopping: stopping.clone() };
        let writer = DefinitionsWriter::new(config, kafka, state.clone())?.stopped_by(stopping.clone());
        let (requests, to_write) = mpsc::channel(WAITING);
        let threads = vec![
            spawn("definitions", move || follower.follow())?,
            spawn("definitions-writer", move || writer.serve(to_write))?,
        ];
        let status = state.status();
        let requests = Mutex::new(Some(requests));
        Ok(Arc::new(Store { state, status, requests, stop, threads: Mutex::new(threads) }))
    }

    /// Resolves when the log has been read to its end and the index holds all of its rules.
    ///
    /// # Errors
    /// The store was stopped before.
    pub async fn caught_up(&self) -> Result<(), StoreError> {
        let mut status = self.status.clone();
        tokio::select! {
            biased;
            caught_up = status.wait_for(|status| status.caught_up) => caught_up.map(drop).map_err(|_| StoreError::Stopped),
            () = self.stop.asked() => Err(StoreError::Stopped),
        }
    }

    /// Resolves when these definitions are not the whole any more, and says why: a secret is sealed with a key that
    /// is not configured here. What was known before stays, for as long as it takes to stop.
    pub async fn locked_out(&self) -> StoreError {
        let mut status = self.status.clone();
        // An error says that the store is gone, and with it the question.
        let _ = status.wait_for(|status| status.locked_out).await;
        match self.state.whole() {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    pub fn status(&self) -> Arc<FollowStatus> {
        self.status.borrow().clone()
    }

    /// Up to which offset of their log the definitions are known here.
    pub fn as_of(&self) -> i64 {
        self.state.next()
    }

    /// Looks at the definitions. They can't change meanwhile, so it should be short.
    pub fn with<T>(&self, look: impl FnOnce(&Definitions) -> T) -> T {
        look(&self.state.definitions())
    }

    /// Writes what `decide` makes of the definitions as they stand, all of it or nothing, and returns what it says
    /// beside once it is written and this instance applies it.
    ///
    /// `decide` may be called several times, each time with a newer state.
    ///
    /// # Errors
    /// `decide` refused, the topic is not as it must be, or Kafka does not take the records.
    pub async fn write<T, E, D>(&self, decide: D) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        D: FnMut(&PendingDefinitions<'_>) -> Result<(Vec<LogRecord>, T), E> + Send + 'static,
    {
        let requests = self.requests.lock().clone();
        let requests = requests.ok_or(StoreError::Stopped)?;
        let (decision, outcome) = Decision::new(decide);
        requests.send(Box::new(decision)).await.map_err(|_| StoreError::Stopped)?;
        outcome.await.map_err(|_| StoreError::Stopped)?
    }

    /// Writes what has been asked for, as far as brokers take it soon, then stops following.
    pub async fn stop(&self) {
        self.stop.now();
        drop(self.requests.lock().take());
        let threads = std::mem::take(&mut *self.threads.lock());
        let ended = tokio::task::spawn_blocking(|| threads.into_iter().map(JoinHandle::join).all(|end| end.is_ok()));
        match tokio::time::timeout(LAST_WRITES, ended).await {
            Ok(Ok(true)) => {}
            Ok(_) => tracing::error!("a thread that follows or writes the definitions had died"),
            Err(_) => tracing::warn!("a write of definitions waits for brokers and is left; its client has no answer"),
        }
    }
}

impl Drop for Store {
    /// A store that nobody holds is not followed either; its threads end by themselves.
    fn drop(&mut self) {
        self.stop.now();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(StoreError::Thread)
}

/// Writes once, without following the log before or after; see [`Store::write`].
///
/// # Errors
/// `decide` refused, the topic is not as it must be, or Kafka does not take the records.
pub async fn write<T, E, D>(config: &Config, kafka: &HashMap<String, String>, decide: D) -> Result<T, WriteError<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    D: FnMut(&PendingDefinitions<'_>) -> Result<(Vec<LogRecord>, T), E> + Send + 'static,
{
    let state = Arc::new(StoreState::new(&config.topic, &config.secret_keys, None));
    let mut writer = DefinitionsWriter::new(config, kafka, state)?;
    let (decision, mut outcome) = Decision::new(decide);
    let written = tokio::task::spawn_blocking(move || {
        writer.check()?;
        // The bulk is read before the id is taken over, so that taking over and committing are close together.
        writer.catch_up()?;
        writer.write(vec![Box::new(decision)]);
        Ok::<_, StoreError>(outcome.try_recv().expect("a write answers its request"))
    });
    written.await.expect("writing definitions does not panic")?
}
