//! A topic read back from its newest end, such as that of the dead letters: page by page over all partitions,
//! the newest records first. Or read again from a place on, the oldest first, without a group and without a commit.
//!
//! Somebody asks now and then, so nothing is held in between: each page has a Kafka client of its own, which is
//! made for it and given back at its end, and a cursor says where the next one goes on. A page is bounded in what
//! it finds, what it reads and how long it takes. Records may be written and deleted meanwhile: what was written
//! after the first page is not looked for, and what is deleted is not missed.

mod cursor;
mod merge;
mod reader;
mod retention;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::reader::PartitionsReader;
use super::errors::Unanswered;

pub use self::cursor::{BadCursor, TopicCursor};
pub use self::retention::days;

/// How many reads of a journal an instance does at the same time: each takes a thread, connections to brokers and
/// tens of megabytes.
const AT_ONCE: usize = 4;

/// A topic that can be read back.
pub struct TopicReader {
    topic: String,
    client: ClientConfig,
    places: Arc<Semaphore>,
}

/// Offsets of partitions, by partition: from the first, and below the second.
pub type Spans = BTreeMap<i32, (i64, i64)>;

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The oldest offset that is left.
    pub start: i64,
    /// The offset behind the last record that is committed.
    pub end: i64,
    /// Of each time that was asked for, the first offset of that time or later; the end where there is none.
    pub since: Vec<i64>,
}

/// A record, as it is looked at.
#[derive(Debug)]
pub struct Record<'r> {
    pub partition: i32,
    pub offset: i64,
    /// Kafka's timestamp, milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<&'r [u8]>,
    pub value: Option<&'r [u8]>,
    pub headers: Vec<(&'r str, &'r [u8])>,
}

/// Which part of a topic is of interest, by Kafka's timestamps in milliseconds since 1970. It spares reading the
/// rest; records near its ends may be looked at too, and those of other keys in the same partition. A partition's timestamps are taken to grow but for a minute.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// Nothing older.
    pub since_ms: Option<i64>,
    /// Only what is older.
    pub until_ms: Option<i64>,
    /// Only the partition that records of this key are in, as [`partition_of`] says.
    pub key: Option<u128>,
}

/// Which of so many partitions the records of a key are in, for topics that are written so. The key is as good as
/// random, such as a message's id.
pub fn partition_of(key: u128, partitions: usize) -> usize {
    usize::try_from(key % partitions.max(1) as u128).unwrap_or(0)
}

/// What a page ends at, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many records are found.
    pub found: usize,
    /// After how many bytes of records no more are read, as soon as the page has come further than its cursor.
    pub bytes: u64,
    /// How long it takes.
    pub time: Duration,
}

/// A part of what is there, the newest first.
#[derive(Debug)]
pub struct Page<T> {
    pub found: Vec<T>,
    /// Where the next page begins; None when everything was looked at.
    pub next: Option<TopicCursor>,
    /// How many records were looked at.
    pub looked_at: u64,
}

/// Why a topic can't be read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{AT_ONCE} reads of topic {topic} are under way, and there are no more at a time")]
    Busy { topic: String },
    #[error("the Kafka client for topic {topic} can't be made: {source}")]
    Client { topic: String, source: Box<KafkaError> },
    #[error(
        "topic {topic} can't be looked up at {brokers}: {source}; is the address right, and does a broker run there?"
    )]
    Unreachable { topic: String, brokers: String, source: Box<KafkaError> },
    #[error("topic {topic} can't be looked up at {brokers}: {reason}")]
    Unanswered { topic: String, brokers: String, reason: Unanswered },
    #[error("there is no topic {topic}: create it with `outhook topics create`")]
    NoTopic { topic: String },
    #[error("topic {topic} can't be read: {reason}")]
    Denied { topic: String, reason: String },
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    #[error("nothing of topic {topic} could be read within {time:?}; the last trouble was: {trouble}")]
    Stalled { topic: String, time: Duration, trouble: String },
}

/// The settings of a client that reads a topic back; `client` says how the cluster is reached.
pub fn client(topic: &str, client: ClientConfig) -> ClientConfig {
    PartitionsReader::settings(topic, client)
}

impl TopicReader {
    /// `client` says how the cluster is reached (brokers, security).
    pub fn new(topic: &str, client: ClientConfig) -> Self {
        Self { topic: topic.to_owned(), client, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Looks at records from the newest or the cursor on, and keeps what `look` makes of them.
    ///
    /// What it makes should be no larger than the record. A page may find nothing and still have a next one: then
    /// the bounds were reached first.
    ///
    /// # Errors
    /// Too many read at once, the cursor is none of this topic, or the topic can't be read.
    pub async fn page<T, L>(
        &self,
        from: Option<TopicCursor>,
        range: Range,
        bounds: Bounds,
        look: L,
    ) -> Result<Page<T>, Error>
    where
        T: Send + 'static,
        L: FnMut(&Record<'_>) -> Option<T> + Send + 'static,
    {
        self.read(bounds.time, move |mut reader| reader.page(from, range, bounds, look)).await
    }

    /// What `look` makes of one record; None if there is none at this place (any more).
    ///
    /// # Errors
    /// Too many read at once, or the topic can't be read in that time.
    pub async fn at<T, L>(&self, place: (i32, i64), time: Duration, look: L) -> Result<Option<T>, Error>
    where
        T: Send + 'static,
        L: FnMut(&Record<'_>) -> Option<T> + Send + 'static,
    {
        Ok(self.each(vec![place], time, look).await?.pop().flatten())
    }

    /// The same of several places, in their order.
    ///
    /// # Errors
    /// Too many read at once, or not all of them can be read in that time.
    pub async fn each<T, L>(&self, places: Vec<(i32, i64)>, time: Duration, look: L) -> Result<Vec<Option<T>>, Error>
    where
        T: Send + 'static,
        L: FnMut(&Record<'_>) -> Option<T> + Send + 'static,
    {
        self.read(time, move |mut reader| reader.each(&places, look)).await
    }

    /// What each partition holds now, by its number. `times` are Kafka's timestamps, milliseconds since 1970.
    ///
    /// # Errors
    /// Too many read at once, or the topic can't be looked up in that time.
    pub async fn extents(&self, times: Vec<i64>, time: Duration) -> Result<Vec<Extent>, Error> {
        self.read(time, move |reader| reader.extents(&times)).await
    }

    /// Shows the records of these offsets, each partition's from the oldest on, until `look` breaks off or the time is
    /// up. Returns what `look` has made, and what is left of the offsets.
    ///
    /// # Errors
    /// Too many read at once, or nothing could be read in that time.
    pub async fn forward<S, L>(&self, spans: Spans, time: Duration, made: S, look: L) -> Result<(S, Spans), Error>
    where
        S: Send + 'static,
        L: FnMut(&mut S, &Record<'_>) -> ControlFlow<()> + Send + 'static,
    {
        self.read(time, move |mut reader| reader.forward(spans, made, look)).await
    }

    /// The same for another topic of the cluster; both together read no more at a time.
    pub fn of_topic(&self, topic: &str) -> Self {
        Self { topic: topic.to_owned(), client: self.client.clone(), places: self.places.clone() }
    }

    /// Reads in a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        time: Duration,
        read: impl FnOnce(PartitionsReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.place()?;
        let (topic, client) = (self.topic.clone(), self.client.clone());
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the thread is done: who asked may be gone before.
            let _place = place;
            read(PartitionsReader::open(topic, client, (Instant::now(), time))?)
        });
        reading.await.expect("reading a topic does not panic")
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.places.clone().try_acquire_owned().map_err(|_| Error::Busy { topic: self.topic.clone() })
    }
}
