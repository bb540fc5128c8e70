//! Reads the definitions topic to its end, then follows it into the index.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use metrics::counter;
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::sync::watch;

use super::compile::Compiler;
use super::log::{self, Log, Next};
use super::{BadDefinition, Config, Status, StoreError};
use crate::definition::{Applied, Changes, Definitions};
use crate::matching::Index;

/// How long the follower waits for a record before it looks whether it shall stop.
const POLL: Duration = Duration::from_millis(100);
/// How long a broker may hold a request open at the end of the log, and so how soon that end is told.
const FETCH_WAIT: Duration = Duration::from_millis(100);
/// How long changes may wait for the end of the log, so that those of one transaction take effect together.
const TOGETHER: Duration = Duration::from_millis(250);
/// How often the follower looks whether the log is still the one that it has read.
const LOOK_BACK: Duration = Duration::from_secs(5);
/// How often the same trouble is logged at most.
const REMIND: Duration = Duration::from_secs(60);

/// The definitions, held at the log's end by a thread of its own, and the index of compiled rules with them.
pub struct Store {
    definitions: Arc<RwLock<Definitions>>,
    status: watch::Receiver<Arc<Status>>,
    stop: Arc<AtomicBool>,
    follower: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Begins to follow the log; does not wait for a broker. While brokers are away the definitions stay as
    /// they are, and the client goes on by itself.
    ///
    /// # Errors
    /// The Kafka properties make no client.
    pub fn start(
        config: &Config,
        kafka: &HashMap<String, String>,
        index: Arc<Index>,
    ) -> Result<Arc<Store>, StoreError> {
        let mut log = Log::open(config, kafka, FETCH_WAIT)?;
        log.restart()?;
        let definitions = Arc::new(RwLock::new(Definitions::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (publish, status) = watch::channel(Arc::new(Status::default()));
        let follower = Follower {
            topic: config.topic.clone(),
            definitions: definitions.clone(),
            reading: Some(Definitions::default()),
            compiler: Compiler::new(index),
            changes: Changes::default(),
            since: None,
            bad: BTreeMap::new(),
            status: Status::default(),
            publish,
            logged: HashMap::new(),
        };
        let stopped = stop.clone();
        let follower = thread::Builder::new()
            .name("definitions".to_owned())
            .spawn(move || follower.follow(log, &stopped))
            .map_err(StoreError::Thread)?;
        Ok(Arc::new(Store { definitions, status, stop, follower: Mutex::new(Some(follower)) }))
    }

    /// Resolves when the log has been read to its end and the index holds all of its rules.
    ///
    /// # Errors
    /// The store was stopped before.
    pub async fn caught_up(&self) -> Result<(), StoreError> {
        let mut status = self.status.clone();
        status.wait_for(|status| status.caught_up).await.map(drop).map_err(|_| StoreError::Stopped)
    }

    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Looks at the definitions. They can't change meanwhile, so it should be short.
    pub fn with<T>(&self, look: impl FnOnce(&Definitions) -> T) -> T {
        look(&self.definitions.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops following; resolves when the thread has ended.
    pub async fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(follower) = follower {
            let ended = tokio::task::spawn_blocking(|| follower.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the thread that follows the definitions had died");
            }
        }
    }
}

impl Drop for Store {
    /// A store that nobody holds is not followed either; its thread ends by itself.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Follower {
    topic: String,
    definitions: Arc<RwLock<Definitions>>,
    /// While the log is read from its start: what it has said so far. At its end it takes the place of what was
    /// known before, so that nobody sees half of it.
    reading: Option<Definitions>,
    compiler: Compiler,
    /// What the index does not know yet, and since when.
    changes: Changes,
    since: Option<Instant>,
    /// Records that are no definitions, by key, until another record replaces them.
    bad: BTreeMap<String, BadDefinition>,
    status: Status,
    publish: watch::Sender<Arc<Status>>,
    /// When each kind of trouble was last logged.
    logged: HashMap<String, Instant>,
}

impl Follower {
    fn follow(mut self, mut log: Log, stop: &AtomicBool) {
        let mut looked_back = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if self.reading.is_none() && looked_back.elapsed() >= LOOK_BACK {
                looked_back = Instant::now();
                let _ = log.look_back();
            }
            match log.next(POLL) {
                Next::Record(record) => self.take(&record),
                Next::End => {
                    self.end_reading();
                    self.take_effect();
                }
                Next::Remade => {
                    tracing::warn!(
                        "the definitions topic {} was made anew or cut: it is read from its start",
                        self.topic
                    );
                    self.reading = Some(Definitions::default());
                    self.bad.clear();
                    if let Err(error) = log.restart() {
                        tracing::error!("the definitions topic can't be read from its start: {error}");
                    }
                }
                Next::Nothing => {}
                Next::Trouble(error) => self.report(&error),
            }
            // What is read from the start takes effect as a whole.
            if self.reading.is_none() && self.since.is_some_and(|since| since.elapsed() >= TOGETHER) {
                self.take_effect();
            }
        }
    }

    fn take(&mut self, record: &BorrowedMessage<'_>) {
        let key = record.key().unwrap_or_default();
        let applied = match &mut self.reading {
            Some(reading) => reading.apply(key, record.payload(), &mut self.changes),
            None => {
                let mut definitions = self.definitions.write().unwrap_or_else(PoisonError::into_inner);
                definitions.apply(key, record.payload(), &mut self.changes)
            }
        };
        self.since.get_or_insert_with(Instant::now);
        self.status.records += 1;
        self.status.last_change = record.timestamp().to_millis().or(self.status.last_change);
        match applied {
            Ok(applied) => {
                self.status.ignored += u64::from(applied == Applied::Ignored);
                self.bad.remove(&*String::from_utf8_lossy(key));
            }
            Err(error) => {
                counter!("outhook_definition_records_bad_total").increment(1);
                tracing::warn!(topic = self.topic, offset = record.offset(), "{error}");
                let reason = error.reason.to_string();
                self.bad
                    .insert(error.key.clone(), BadDefinition { key: error.key, offset: Some(record.offset()), reason });
            }
        }
    }

    /// The end of the log: what was read from its start is what is known.
    fn end_reading(&mut self) {
        self.status.caught_up = true;
        if let Some(read) = self.reading.take() {
            let mut definitions = self.definitions.write().unwrap_or_else(PoisonError::into_inner);
            self.changes.add_all(&definitions);
            *definitions = read;
        }
    }

    /// Lets the changes take effect: compiles them into the index, then says how things stand.
    fn take_effect(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        self.since = None;
        {
            let definitions = self.definitions.read().unwrap_or_else(PoisonError::into_inner);
            self.compiler.update(&definitions, &changes);
            self.status.webhooks = definitions.webhooks().len();
            self.status.events = definitions.events().len();
        }
        self.status.name_bad(&self.bad, self.compiler.failed());
        self.status.publish_metrics();
        self.publish.send_replace(Arc::new(self.status.clone()));
    }

    fn report(&mut self, error: &KafkaError) {
        let text = error.to_string();
        if self.logged.get(&text).is_some_and(|logged| logged.elapsed() < REMIND) {
            return;
        }
        let mend = if log::is_missing_topic(error) { "; create it with `outhook topics create`" } else { "" };
        tracing::warn!("the definitions topic {} can't be read for now: {text}{mend}", self.topic);
        self.logged.insert(text, Instant::now());
    }
}

#[cfg(test)]
mod tests;
