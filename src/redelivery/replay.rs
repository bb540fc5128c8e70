//! Replays past row changes: reads records of a source's topic again, and renders the calls of the selected events,
//! due now.
//!
//! A replay runs decode, match and render, with the current definitions. Running instances send the calls, like those
//! of redriven dead letters. A message keeps the id that its row change and event determine, so a receiver recognizes
//! a message that it has processed. The replay does not join the consumer group and commits nothing.

mod range;
#[cfg(test)]
mod tests;

use std::ops::{AddAssign, ControlFlow};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::decode::Input;
use crate::kafka::topic_reader::{Error, PartitionExtent, Record, Spans, TopicReader};
use crate::pipeline;
use crate::settle::StoredCall;

pub use self::range::{BadOffsetRanges, BadRange, OffsetRanges, Range, RangeBound, skip_deleted};

/// Time limit of reading a page, and of asking the topic for its offsets.
const PAGE_TIME: Duration = Duration::from_secs(10);
/// Max bytes of records and bodies in a page. The last record may exceed it.
const PAGE_BYTES: usize = 16 * 1024 * 1024;
/// Max problems that a page lists. The others are only counted.
const MAX_REPORTED_PROBLEMS: usize = 10;

/// Creates the stages of a topic. None for a topic that no source reads.
pub type ReplayFactory = Box<dyn Fn(&str) -> Option<pipeline::ReplayStages> + Send + Sync>;

/// A topic whose records are replayed.
pub struct TopicReplay {
    topic: Arc<str>,
    topic_reader: TopicReader,
    record_replay: Arc<Mutex<pipeline::ReplayStages>>,
}

/// Calls and problems of a part of the range.
#[derive(Debug, Default)]
pub struct Page {
    pub calls: Vec<(StoredCall, Bytes)>,
    pub counts: ReplayCounts,
    /// The first records and messages that failed, as text.
    pub problems: Vec<String>,
    bytes: usize,
}

/// Counts of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Records read.
    pub records: u64,
    /// Records that fired one of the events.
    pub fired: u64,
    /// Messages, one for each record and event. Too large messages count.
    pub messages: u64,
    /// Calls, one for each message and URL.
    pub calls: u64,
    /// Records that can't be decoded.
    pub undecodable: u64,
    /// Messages over the size limit.
    pub too_large: u64,
}

impl TopicReplay {
    /// `topic_reader` reads the topic, `stages` are those of its source.
    pub fn new(topic: &str, topic_reader: TopicReader, stages: pipeline::ReplayStages) -> Self {
        Self { topic: topic.into(), topic_reader, record_replay: Arc::new(Mutex::new(stages)) }
    }

    /// The offsets that the topic holds now, and those of these times in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`TopicReader::extents`].
    pub async fn extents(&self, times: Vec<i64>) -> Result<Vec<PartitionExtent>, Error> {
        self.topic_reader.extents(times, PAGE_TIME).await
    }

    /// Reads until `max_calls` or the page's byte limit is reached. Returns the page and the offsets that are left.
    /// Writes nothing, so it may be cancelled at any time.
    ///
    /// # Errors
    /// As [`TopicReader::forward`].
    pub async fn read(&self, spans: Spans, max_calls: usize) -> Result<(Page, Spans), Error> {
        let (topic, stages) = (self.topic.clone(), self.record_replay.clone());
        let look = move |page: &mut Page, record: &Record<'_>| {
            let mut stages = stages.lock();
            page.add_record(&mut stages, &input(&topic, record));
            let is_full = page.calls.len() >= max_calls || page.bytes >= PAGE_BYTES;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.topic_reader.forward(spans, PAGE_TIME, Page::default(), look).await
    }
}

impl Page {
    fn add_record(&mut self, stages: &mut pipeline::ReplayStages, input: &Input<'_>) {
        self.counts.records += 1;
        self.bytes += input.key.map_or(0, <[u8]>::len) + input.value.map_or(0, <[u8]>::len);
        let replayed = match stages.replay(input, |_| true) {
            Ok(replayed) => replayed,
            Err(reason) => {
                self.counts.undecodable += 1;
                return self.add_problem(input, &reason.to_string());
            }
        };
        self.counts.fired += u64::from(!replayed.is_empty());
        for message in replayed {
            self.counts.messages += 1;
            self.counts.calls += message.calls.len() as u64;
            self.bytes += message.calls.iter().map(|(_, body)| body.len()).sum::<usize>();
            if let Some(reason) = message.too_large {
                self.counts.too_large += 1;
                self.add_problem(input, &format!("event {}, message {}: {reason}", message.event, message.message));
            }
            self.calls.extend(message.calls);
        }
    }

    fn add_problem(&mut self, input: &Input<'_>, reason: &str) {
        if self.problems.len() < MAX_REPORTED_PROBLEMS {
            self.problems.push(format!("{}:{}: {reason}", input.partition, input.offset));
        }
    }
}

impl AddAssign for ReplayCounts {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.fired += more.fired;
        self.messages += more.messages;
        self.calls += more.calls;
        self.undecodable += more.undecodable;
        self.too_large += more.too_large;
    }
}

pub(super) fn input<'a>(topic: &'a str, record: &'a Record<'_>) -> Input<'a> {
    Input {
        topic,
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        value: record.value,
        headers: &record.headers,
    }
}
