//! The Kafka client of one page: a consumer that joins no group and reads the offsets assigned to it.

use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::Offset;

use super::merge::{Chunk, ChunkState, MergeStep, PartitionMerge, Span};
use super::{Error, Page, PageLimits, PartitionExtent, Range, Record, Spans, TopicCursor, partition_of};
use crate::kafka::errors;
use crate::kafka::topic_consumer::{TopicConsumer, TopicError};

/// Max time of a broker's answer about the topic.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Max time of a poll for records before the deadline is checked.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
/// Max bytes in memory of all chunks that are read together.
const MAX_CHUNK_MEMORY: u64 = 32 * 1024 * 1024;
/// Max difference between the clocks of the topic's writers: records may be that much out of order.
const MAX_CLOCK_SKEW_MS: i64 = 60_000;

pub(super) struct PartitionsReader {
    consumer: TopicConsumer,
    topic: String,
    started: Instant,
    time_limit: Duration,
    scanned: u64,
    bytes: u64,
    /// The last error that the client reported.
    last_error: String,
}

impl PartitionsReader {
    /// Creates the client; does not wait for a broker. `time` limits all reads of this client together.
    pub fn open(topic: String, client: ClientConfig, (started, time): (Instant, Duration)) -> Result<Self, Error> {
        let consumer = TopicConsumer::open(&topic, &Self::settings(&topic, client))?;
        let trouble = "the brokers did not answer".to_owned();
        Ok(Self { consumer, topic, started, time_limit: time, scanned: 0, bytes: 0, last_error: trouble })
    }

    pub fn settings(topic: &str, client: ClientConfig) -> ClientConfig {
        let mut client = TopicConsumer::settings(topic, client);
        client
            .set("queued.max.messages.kbytes", (MAX_CHUNK_MEMORY / 4 / 1024).to_string())
            // Every chunk starts at another offset, so neither the client nor the broker should pause for long.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "10");
        client
    }

    /// See [`super::TopicReader::page`].
    pub fn page<T>(
        &mut self,
        from: Option<TopicCursor>,
        range: Range,
        bounds: PageLimits,
        mut look: impl FnMut(&Record<'_>) -> Option<T>,
    ) -> Result<Page<T>, Error> {
        let spans = self.spans(from.as_ref(), range)?;
        let since_ms = range.since_ms.map(|since| since.saturating_sub(MAX_CLOCK_SKEW_MS));
        let mut merge = PartitionMerge::new(&spans, since_ms, MAX_CHUNK_MEMORY / spans.len().max(1) as u64);
        let first = merge.cursor();
        let mut found = Vec::new();
        while found.len() < bounds.max_found {
            match merge.next() {
                MergeStep::Found(what) => found.push(what),
                // Read records are returned first. A few large records may exceed the page's bytes, so the page must
                // also move past its cursor: otherwise the next page would begin at the same place.
                MergeStep::Read(_)
                    if self.is_timed_out() || self.bytes >= bounds.max_bytes && merge.cursor() != first =>
                {
                    break;
                }
                MergeStep::Read(mut chunks) => {
                    self.read(&mut chunks, merge.chunk_bytes(), &mut look)?;
                    chunks.into_iter().for_each(|chunk| merge.add_chunk(chunk));
                }
                MergeStep::End => break,
            }
        }
        let next = merge.cursor();
        if next.is_some() && next == first && self.is_timed_out() {
            return Err(self.stalled());
        }
        Ok(Page { found, next_cursor: next, scanned: self.scanned })
    }

    /// See [`super::TopicReader::read_each`].
    pub fn read_each<T>(
        &mut self,
        places: &[(i32, i64)],
        mut look: impl FnMut(&Record<'_>) -> Option<T>,
    ) -> Result<Vec<Option<T>>, Error> {
        let spans = self.spans(None, Range::default())?;
        places.iter().map(|place| self.read_at(*place, &spans, &mut look)).collect()
    }

    /// See [`super::TopicReader::extents`].
    pub fn extents(&self, times: &[i64]) -> Result<Vec<PartitionExtent>, Error> {
        let partitions = self.consumer.partitions(self.request_timeout())?;
        let (starts, ends) = (self.offsets(partitions, Offset::Beginning)?, self.offsets(partitions, Offset::End)?);
        let since = times.iter().map(|at| self.offsets(partitions, Offset::Offset((*at).max(0))));
        let since = since.collect::<Result<Vec<_>, _>>()?;
        let extent = |at: usize| {
            let start = starts[at].unwrap_or(0);
            let end = ends[at].unwrap_or(start);
            // Records written since are after the end.
            let time_offset = |offsets: &Vec<Option<i64>>| offsets[at].map_or(end, |offset| offset.clamp(start, end));
            PartitionExtent { start, end, time_offsets: since.iter().map(time_offset).collect() }
        };
        Ok((0..partitions).map(extent).collect())
    }

    /// See [`super::TopicReader::forward`].
    pub fn forward<S>(
        &mut self,
        mut spans: Spans,
        mut made: S,
        mut look: impl FnMut(&mut S, &Record<'_>) -> ControlFlow<()>,
    ) -> Result<(S, Spans), Error> {
        spans.retain(|_, (from, before)| from < before);
        let place = |(partition, (from, _)): (&i32, &(i64, i64))| {
            Some((usize::try_from(*partition).ok()?, Offset::Offset(*from)))
        };
        let from = spans.iter().filter_map(place);
        self.consumer.assign(from)?;
        while !spans.is_empty() && !self.is_timed_out() {
            match self.consumer.poll(POLL_TIMEOUT) {
                None => {}
                Some(Ok(message)) => {
                    let Entry::Occupied(mut span) = spans.entry(message.partition()) else { continue };
                    let (from, before) = span.get_mut();
                    let (offset, before) = (message.offset(), *before);
                    *from = offset.saturating_add(1).min(before);
                    if offset.saturating_add(1) >= before {
                        span.remove();
                        self.consumer.pause(message.partition())?;
                    }
                    self.scanned += 1;
                    if offset < before && look(&mut made, &record(&message)).is_break() {
                        break;
                    }
                }
                // The remaining offsets hold no records: they are marks of transactions, or compaction removed them.
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(spans.remove(&partition)),
                Some(Err(error)) => self.record_error(&error)?,
            }
        }
        if self.scanned == 0 && !spans.is_empty() && self.is_timed_out() {
            return Err(self.stalled());
        }
        self.consumer.unassign()?;
        Ok((made, spans))
    }

    fn read_at<T>(
        &mut self,
        (partition, offset): (i32, i64),
        spans: &[Span],
        look: &mut impl FnMut(&Record<'_>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some((number, span)) = usize::try_from(partition).ok().and_then(|at| Some((at, spans.get(at)?))) else {
            return Ok(None);
        };
        if !(span.0..span.1).contains(&offset) {
            return Ok(None);
        }
        let mut chunk = [Chunk::new(number, (offset, offset + 1))];
        self.read(&mut chunk, u64::MAX, look)?;
        let [chunk] = chunk;
        if chunk.state == ChunkState::Reading { Err(self.stalled()) } else { Ok(chunk.into_first()) }
    }

    /// The offsets of each partition to scan.
    fn spans(&self, from: Option<&TopicCursor>, range: Range) -> Result<Vec<Span>, Error> {
        let partitions = self.consumer.partitions(self.request_timeout())?;
        let (starts, ends) = (self.offsets(partitions, Offset::Beginning)?, self.offsets(partitions, Offset::End)?);
        let since = range.since_ms.map(|at| self.offsets(partitions, Offset::Offset(at.max(0)))).transpose()?;
        let until = range.until_ms.map(|at| at.saturating_add(MAX_CLOCK_SKEW_MS).max(0));
        let until = until.map(|at| self.offsets(partitions, Offset::Offset(at))).transpose()?;
        let from = from.map(|cursor| cursor.positions(partitions)).transpose()?;
        let only = range.key.map(|key| partition_of(key, partitions));
        let span = |at: usize| {
            let of = |offsets: &Option<Vec<Option<i64>>>| offsets.as_ref().and_then(|offsets| offsets[at]);
            let start = starts[at].unwrap_or(0);
            if only.is_some_and(|only| only != at) {
                return (start, start);
            }
            let end = ends[at].unwrap_or(start);
            // The broker may return no offset: there may be no record of that time yet, or the broker does not know.
            let floor = of(&since).map_or(start, |since| since.max(start));
            let before = of(&until).map_or(end, |until| until.min(end));
            (floor, from.as_ref().map_or(before, |from| from[at].min(before)))
        };
        Ok((0..partitions).map(span).collect())
    }

    fn offsets(&self, partitions: usize, at: Offset) -> Result<Vec<Option<i64>>, Error> {
        Ok(self.consumer.offsets(partitions, at, self.request_timeout())?)
    }

    /// Reads chunks of several partitions until all have ended or the time is up.
    fn read<T>(
        &mut self,
        chunks: &mut [Chunk<T>],
        chunk_bytes: u64,
        look: &mut impl FnMut(&Record<'_>) -> Option<T>,
    ) -> Result<(), Error> {
        self.consumer.assign(chunks.iter().map(|chunk| (chunk.partition, Offset::Offset(chunk.from))))?;
        while chunks.iter().any(|chunk| chunk.state == ChunkState::Reading) && !self.is_timed_out() {
            let (partition, record) = match self.consumer.poll(POLL_TIMEOUT) {
                None => continue,
                Some(Ok(message)) => (message.partition(), Some(message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => (partition, None),
                Some(Err(error)) => {
                    self.record_error(&error)?;
                    continue;
                }
            };
            let is_for_partition = |chunk: &&mut Chunk<T>| i32::try_from(chunk.partition) == Ok(partition);
            let Some(chunk) = chunks.iter_mut().find(is_for_partition) else { continue };
            match record {
                Some(message) if chunk.needs(message.offset()) => {
                    let bytes = scan_record(&message, chunk, chunk_bytes, look);
                    (self.scanned, self.bytes) = (self.scanned + 1, self.bytes + bytes);
                }
                // A chunk that is too large receives more records than it takes.
                Some(message) if message.offset() < chunk.end => {}
                _ => chunk.finish(),
            }
        }
        Ok(self.consumer.unassign()?)
    }

    fn is_timed_out(&self) -> bool {
        self.started.elapsed() >= self.time_limit
    }

    /// Max time of a request now.
    fn request_timeout(&self) -> Duration {
        self.time_limit.saturating_sub(self.started.elapsed()).clamp(POLL_TIMEOUT, REQUEST_TIMEOUT)
    }

    /// Keeps the error. The client recovers from it, unless access to the topic is denied.
    fn record_error(&mut self, error: &KafkaError) -> Result<(), Error> {
        if errors::is_group_error(error) {
            return Ok(());
        }
        self.last_error = errors::error_text(error);
        if errors::is_denied(error) {
            let reason = self.last_error.clone();
            return Err(TopicError::Denied { topic: self.topic.clone(), reason }.into());
        }
        Ok(())
    }

    fn stalled(&self) -> Error {
        Error::Stalled { topic: self.topic.clone(), time: self.time_limit, trouble: self.last_error.clone() }
    }
}

/// Passes a record to `look` and adds the result to its chunk; returns the record's size.
fn scan_record<T>(
    message: &BorrowedMessage<'_>,
    chunk: &mut Chunk<T>,
    chunk_bytes: u64,
    look: &mut impl FnMut(&Record<'_>) -> Option<T>,
) -> u64 {
    let record = record(message);
    let header_bytes: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = (message.key_len() + message.payload_len() + header_bytes) as u64;
    chunk.add_record((record.offset, record.timestamp_ms), bytes, look(&record), chunk_bytes);
    bytes
}

fn record<'r>(message: &'r BorrowedMessage<'_>) -> Record<'r> {
    let headers = message
        .headers()
        .map(|headers| headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect::<Vec<_>>());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        // The same as in live delivery, because message ids are made of it.
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key(),
        value: message.payload(),
        headers: headers.unwrap_or_default(),
    }
}
