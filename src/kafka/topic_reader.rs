//! Reads a topic back from its end, such as the dead-letter topic: page by page over all partitions, the newest
//! records first. It also reads a topic forward from given offsets, the oldest records first, without joining a group
//! or committing.
//!
//! Reads are rare, so no state is kept between them: each page creates its own Kafka client and drops it at its end,
//! and a cursor says where the next page begins. A page has limits for its found records, its bytes and its time.
//! Records may be written and deleted between pages: records written after the first page are not found, and deleted
//! records are skipped.

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

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::reader::PartitionsReader;
use super::ClientConfig;
use super::topic_consumer::TopicError;

pub use self::cursor::{BadCursor, TopicCursor};
pub use self::retention::days;

/// Max concurrent reads of one [`TopicReader`], together with those of [`TopicReader::of_topic`]. Each takes a
/// thread, connections to brokers and tens of megabytes.
const MAX_CONCURRENT_READS: usize = 4;

/// Reads one topic.
pub struct TopicReader {
    topic: String,
    client: ClientConfig,
    read_permits: Arc<Semaphore>,
}

/// Offset ranges by partition: from the first offset, below the second.
pub type Spans = BTreeMap<i32, (i64, i64)>;

/// The offsets that a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionExtent {
    /// The oldest available offset.
    pub start: i64,
    /// The offset after the last committed record.
    pub end: i64,
    /// For each requested time the first offset of that time or later; the end if there is none.
    pub time_offsets: Vec<i64>,
}

/// A record, as the caller's function gets it.
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

/// The part of a topic to read, by Kafka's timestamps in milliseconds since 1970. The rest is not read, except for
/// records near its ends and records of other keys in the same partition. The timestamps of a partition are assumed
/// to be in order, with deviations of up to a minute.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// No older records.
    pub since_ms: Option<i64>,
    /// Only older records.
    pub until_ms: Option<i64>,
    /// Only the partition of this key, by [`partition_of`].
    pub key: Option<u128>,
}

/// The partition of a key's records, in topics that are written by this rule. Keys must be evenly distributed, like
/// message ids.
pub fn partition_of(key: u128, partitions: usize) -> usize {
    usize::try_from(key % partitions.max(1) as u128).unwrap_or(0)
}

/// The limits of a page, which ends at the first one reached.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// Max found records.
    pub max_found: usize,
    /// Bytes of records after which the page reads no more, once it has moved past its cursor.
    pub max_bytes: u64,
    /// Max time.
    pub max_time: Duration,
}

/// Found records, the newest first.
#[derive(Debug)]
pub struct Page<T> {
    pub found: Vec<T>,
    /// Where the next page begins; None when all records were scanned.
    pub next_cursor: Option<TopicCursor>,
    /// The number of scanned records.
    pub scanned: u64,
}

/// Why a topic can't be read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{MAX_CONCURRENT_READS} reads of topic {topic} are in progress, which is the maximum: try again later")]
    Busy { topic: String },
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    #[error("no record of topic {topic} could be read within {time:?}; the last error was: {trouble}")]
    Stalled { topic: String, time: Duration, trouble: String },
}

/// The settings of a client that reads a topic back. `client` holds the connection to the cluster.
pub fn client(topic: &str, client: ClientConfig) -> ClientConfig {
    PartitionsReader::settings(topic, client)
}

impl TopicReader {
    /// `client` holds the connection to the cluster (brokers, security).
    pub fn new(topic: &str, client: ClientConfig) -> Self {
        Self { topic: topic.to_owned(), client, read_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_READS)) }
    }

    /// Scans records from the newest or from the cursor, and returns the values that `look` makes of them.
    ///
    /// A value should be no larger than its record. A page may find nothing and still have a next one: then a limit
    /// was reached first.
    ///
    /// # Errors
    /// Too many reads are in progress, the cursor is not of this topic, or the topic can't be read.
    pub async fn page<T, L>(
        &self,
        from: Option<TopicCursor>,
        range: Range,
        bounds: PageLimits,
        look: L,
    ) -> Result<Page<T>, Error>
    where
        T: Send + 'static,
        L: FnMut(&Record<'_>) -> Option<T> + Send + 'static,
    {
        self.read(bounds.max_time, move |mut reader| reader.page(from, range, bounds, look)).await
    }

    /// The value that `look` makes of one record; None if there is no record at this place (any more).
    ///
    /// # Errors
    /// Too many reads are in progress, or the topic can't be read in that time.
    pub async fn read_at<T, L>(&self, place: (i32, i64), time: Duration, look: L) -> Result<Option<T>, Error>
    where
        T: Send + 'static,
        L: FnMut(&Record<'_>) -> Option<T> + Send + 'static,
    {
        Ok(self.read_each(vec![place], time, look).await?.pop().flatten())
    }

    /// The same for several places, in their order.
    ///
    /// # Errors
    /// Too many reads are in progress, or not all records can be read in that time.
    pub async fn read_each<T, L>(
        &self,
        places: Vec<(i32, i64)>,
        time: Duration,
        look: L,
    ) -> Result<Vec<Option<T>>, Error>
    where
        T: Send + 'static,
        L: FnMut(&Record<'_>) -> Option<T> + Send + 'static,
    {
        self.read(time, move |mut reader| reader.read_each(&places, look)).await
    }

    /// The extent of each partition now, by its number. `times` are Kafka's timestamps, milliseconds since 1970.
    ///
    /// # Errors
    /// Too many reads are in progress, or the topic can't be looked up in that time.
    pub async fn extents(&self, times: Vec<i64>, time: Duration) -> Result<Vec<PartitionExtent>, Error> {
        self.read(time, move |reader| reader.extents(&times)).await
    }

    /// Passes the records of these offsets to `look`, the oldest of each partition first, until `look` breaks or the
    /// time is up. Returns what `look` has made, and the remaining offsets.
    ///
    /// # Errors
    /// Too many reads are in progress, or no record could be read in that time.
    pub async fn forward<S, L>(&self, spans: Spans, time: Duration, made: S, look: L) -> Result<(S, Spans), Error>
    where
        S: Send + 'static,
        L: FnMut(&mut S, &Record<'_>) -> ControlFlow<()> + Send + 'static,
    {
        self.read(time, move |mut reader| reader.forward(spans, made, look)).await
    }

    /// A reader of another topic of the cluster. Both share the limit of concurrent reads.
    pub fn of_topic(&self, topic: &str) -> Self {
        Self { topic: topic.to_owned(), client: self.client.clone(), read_permits: self.read_permits.clone() }
    }

    /// Runs a read in a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        time: Duration,
        read: impl FnOnce(PartitionsReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.acquire_permit()?;
        let (topic, client) = (self.topic.clone(), self.client.clone());
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the thread is done, because the caller may be dropped before.
            let _place = place;
            read(PartitionsReader::open(topic, client, (Instant::now(), time))?)
        });
        reading.await.expect("reading a topic does not panic")
    }

    fn acquire_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.read_permits.clone().try_acquire_owned().map_err(|_| Error::Busy { topic: self.topic.clone() })
    }
}
