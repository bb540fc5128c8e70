//! Row changes of the past, sent again: records of a source's topic are read once more, and what they make for some
//! events goes out as calls that are due now.
//!
//! A replay goes the pipeline's way as far as its messages are rendered, by the definitions as they are now; running
//! instances send them, as they send a dead letter that is redriven. A message keeps the id that its row change and
//! event give it, so whoever had it knows it again. The consumer group is left alone: nothing is joined, nothing
//! committed.

mod range;
#[cfg(test)]
mod tests;

use std::ops::{AddAssign, ControlFlow};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::decode::Input;
use crate::kafka::topic_reader::{Error, Extent, Record, Spans, TopicReader};
use crate::pipeline;
use crate::settle::StoredCall;

pub use self::range::{BadPlaces, BadRange, Edge, OffsetRanges, Range, without_deleted};

/// How long a page is read, and how long the topic may take to say what it holds.
const PAGE_TIME: Duration = Duration::from_secs(10);
/// How many bytes of records and bodies a page has, but for the record that goes over.
const PAGE_BYTES: usize = 16 * 1024 * 1024;
/// How many troubles of a page are told; the others are counted.
const TOLD: usize = 10;

/// Makes the stages of a topic; None for a topic that no source reads.
pub type Stages = Box<dyn Fn(&str) -> Option<pipeline::Replay> + Send + Sync>;

/// A topic that is read once more.
pub struct Replay {
    topic: Arc<str>,
    journal: TopicReader,
    stages: Arc<Mutex<pipeline::Replay>>,
}

/// What a part of the range has made.
#[derive(Debug, Default)]
pub struct Page {
    pub calls: Vec<(StoredCall, Bytes)>,
    pub sums: Sums,
    /// The first records and messages that nothing could be made of, in words.
    pub troubles: Vec<String>,
    bytes: usize,
}

/// How many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records read.
    pub records: u64,
    /// Of them, those that fired one of the events.
    pub fired: u64,
    /// Messages, one for each record and event; those that are too large too.
    pub messages: u64,
    /// Calls, one for each message and URL.
    pub calls: u64,
    /// Records that can't be decoded.
    pub undecodable: u64,
    /// Messages that are larger than may be sent.
    pub too_large: u64,
}

impl Replay {
    /// `journal` is the topic's, `stages` those of its source.
    pub fn new(topic: &str, journal: TopicReader, stages: pipeline::Replay) -> Self {
        Self { topic: topic.into(), journal, stages: Arc::new(Mutex::new(stages)) }
    }

    /// What the topic holds now, with the offsets of these times in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`TopicReader::extents`].
    pub async fn extents(&self, times: Vec<i64>) -> Result<Vec<Extent>, Error> {
        self.journal.extents(times, PAGE_TIME).await
    }

    /// Reads on, until there are so many calls or enough bytes; returns what is left of the offsets too. Nothing is
    /// written, so it may be given up at any time.
    ///
    /// # Errors
    /// As [`TopicReader::forward`].
    pub async fn read(&self, spans: Spans, most_calls: usize) -> Result<(Page, Spans), Error> {
        let (topic, stages) = (self.topic.clone(), self.stages.clone());
        let look = move |page: &mut Page, record: &Record<'_>| {
            let mut stages = stages.lock();
            page.take(&mut stages, &input(&topic, record));
            let is_full = page.calls.len() >= most_calls || page.bytes >= PAGE_BYTES;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.journal.forward(spans, PAGE_TIME, Page::default(), look).await
    }
}

impl Page {
    fn take(&mut self, stages: &mut pipeline::Replay, input: &Input<'_>) {
        self.sums.records += 1;
        self.bytes += input.key.map_or(0, <[u8]>::len) + input.value.map_or(0, <[u8]>::len);
        let replayed = match stages.replay(input, |_| true) {
            Ok(replayed) => replayed,
            Err(reason) => {
                self.sums.undecodable += 1;
                return self.tell(input, &reason.to_string());
            }
        };
        self.sums.fired += u64::from(!replayed.is_empty());
        for message in replayed {
            self.sums.messages += 1;
            self.sums.calls += message.calls.len() as u64;
            self.bytes += message.calls.iter().map(|(_, body)| body.len()).sum::<usize>();
            if let Some(reason) = message.too_large {
                self.sums.too_large += 1;
                self.tell(input, &format!("event {}, message {}: {reason}", message.event, message.message));
            }
            self.calls.extend(message.calls);
        }
    }

    fn tell(&mut self, input: &Input<'_>, reason: &str) {
        if self.troubles.len() < TOLD {
            self.troubles.push(format!("{}:{}: {reason}", input.partition, input.offset));
        }
    }
}

impl AddAssign for Sums {
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
