//! Where the reading of a partition stands: the offset that comes next, and the error that Kafka's client gives there.
//!
//! An error that comes again and again at one offset would keep all behind it from being read for good. So it is
//! looked for the next offset that can be read, and reading goes on there.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Unreadable;
use super::probe::ProbeResult;
use crate::id::Place;
use crate::kafka::errors;
use crate::lifecycle::{Readiness, UnmetCondition};

/// How many equal errors at one offset are no chance any more, if they take as long as the second says.
const TIMES: u32 = 5;
const WAIT: Duration = Duration::from_secs(1);
/// Up to how long that is when it was looked in vain.
const WAIT_AT_MOST: Duration = Duration::from_secs(60);

/// Some errors come once, and then nothing: this is how long it is waited for a record behind one, or for another error.
const QUIET: Duration = Duration::from_secs(5);

thread_local! {
    /// What Kafka's client said of the error that this thread was given last.
    static REASON: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what the client says of an error in words: rdkafka gives out only its code, right after this, in the same thread.
pub(in crate::source) fn keep_reason(reason: &str) {
    REASON.with_borrow_mut(|kept| reason.clone_into(kept));
}

/// Why nothing can be read at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Cause {
    pub code: RDKafkaErrorCode,
    /// The client's words. They name an offset: that of the batch's first record, or the one that was asked for.
    pub text: String,
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum About {
    /// A whole batch, as the client has fetched it: each offset in it has the same error in the same words.
    Batch,
    /// What a broker has at this offset.
    Offset,
    /// Perhaps the broker, or the network.
    Whatever,
}

impl Cause {
    /// Of an error that was polled just now.
    pub(in crate::source) fn just_told(code: RDKafkaErrorCode) -> Self {
        let text = REASON.take();
        Self { code, text: if text.is_empty() { code.to_string() } else { text } }
    }

    pub(in crate::source) fn about(&self) -> About {
        use RDKafkaErrorCode as Code;
        match self.code {
            Code::BadCompression | Code::BadMessage | Code::NotImplemented => About::Batch,
            Code::InvalidMessage
            | Code::InvalidRecord
            | Code::UnsupportedCompressionType
            | Code::MessageSizeTooLarge => About::Offset,
            _ => About::Whatever,
        }
    }

    /// The offset that the words name.
    pub(in crate::source) fn offset(&self) -> Option<i64> {
        let mut words = self.text.split(|sign: char| sign.is_whitespace() || sign == ':' || sign == ',');
        let mut before = "";
        words.find_map(|word| {
            let named = matches!(before, "at" | "offset").then(|| word.parse().ok()).flatten();
            before = word;
            named
        })
    }

    fn mend(&self) -> &'static str {
        match self.code {
            RDKafkaErrorCode::BadCompression => {
                "the batch is broken, or it is larger than receive.message.max.bytes when it is unpacked: then raise that \
                 in [kafka.properties] and replay these offsets"
            }
            RDKafkaErrorCode::MessageSizeTooLarge => {
                "raise receive.message.max.bytes in [kafka.properties] and replay these offsets"
            }
            _ => "what is stored there is broken: have its source write it once more",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.mend())
    }
}

/// How a partition is read.
pub(in crate::source) struct ReadState {
    topic: Arc<str>,
    partition: i32,
    readiness: Readiness,
    /// The offset that comes next; None until it is known.
    next: Option<i64>,
    trouble: Option<ReadTrouble>,
    /// What was given up last, in the client's words, and where it goes on behind it.
    passed: Option<(String, i64)>,
}

struct ReadTrouble {
    at: i64,
    cause: Cause,
    times: u32,
    since: Instant,
    last: Instant,
    /// How long it has to last before it is looked closer.
    wait: Duration,
    lack: Option<UnmetCondition>,
}

/// An error at one offset that is counted by itself.
#[derive(Default)]
pub(in crate::source) struct ErrorRepeats(Option<(i64, RDKafkaErrorCode, u32, Instant)>);

impl ErrorRepeats {
    /// Whether an error that has just come to an offset is about what stands there, and will come for ever.
    pub(in crate::source) fn are_certain(&mut self, offset: i64, cause: &Cause) -> bool {
        let before = self.0.filter(|(at, code, ..)| (*at, *code) == (offset, cause.code));
        let (_, _, times, since) = before.unwrap_or((offset, cause.code, 0, Instant::now()));
        self.0 = Some((offset, cause.code, times + 1, since));
        times + 1 >= TIMES && since.elapsed() >= WAIT && cause.about() != About::Whatever
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum ReadStep {
    /// The client is to go on from this offset.
    Seek(i64),
    /// It is to be looked whether this offset can be read, and if not, which can.
    Search(i64, Cause),
}

impl ReadState {
    /// `next` is what the group has committed.
    pub(in crate::source) fn new(topic: Arc<str>, partition: i32, next: Option<i64>, readiness: Readiness) -> Self {
        Self { topic, partition, readiness, next, trouble: None, passed: None }
    }

    /// The offset that comes next, as far as it is known.
    pub(in crate::source) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Reading goes on at this offset, whatever was before it.
    pub(in crate::source) fn go_on(&mut self, offset: i64) {
        (self.next, self.trouble, self.passed) = (Some(offset), None, None);
    }

    pub(in crate::source) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// A record has come. Returns what the client has passed over by itself after it told of it.
    pub(in crate::source) fn record(&mut self, offset: i64) -> Option<Unreadable> {
        (self.next, self.passed) = (Some(offset + 1), None);
        let trouble = self.trouble.take()?;
        (trouble.cause.about() == About::Batch && trouble.at < offset).then(|| self.unreadable(&trouble, offset))
    }

    /// An error has come.
    pub(in crate::source) fn failed(&mut self, cause: Cause, now: Instant) -> Option<ReadStep> {
        if let Some((text, behind)) = &self.passed
            && *text == cause.text
        {
            // It was fetched before the client went on.
            return Some(ReadStep::Seek(*behind));
        }
        let Some(at) = self.next.max(cause.offset()) else {
            warn!(topic = %self.topic, partition = self.partition, %cause, "reading goes on by itself after a Kafka error");
            return None;
        };
        match self.trouble.as_mut().filter(|trouble| (trouble.at, trouble.cause.code) == (at, cause.code)) {
            Some(trouble) => {
                (trouble.times, trouble.last) = (trouble.times + 1, now);
                let name = || format!("records readable at {}/{} offset {at}", self.topic, self.partition);
                trouble.lack.get_or_insert_with(|| self.readiness.lacks(name()));
                debug!(topic = %self.topic, partition = self.partition, at, %cause, "the same Kafka error once more");
            }
            None => {
                let error = errors::told_as(Some(cause.code), &cause.text);
                warn!(topic = %self.topic, partition = self.partition, at, error, "a Kafka error; it is tried again");
                self.trouble = Some(ReadTrouble { at, cause, times: 1, since: now, last: now, wait: WAIT, lack: None });
            }
        }
        None
    }

    /// To be asked now and then.
    pub(in crate::source) fn due(&mut self, now: Instant) -> Option<ReadStep> {
        let trouble = self.trouble.as_ref()?;
        let (since, is_about) = (now - trouble.since, trouble.cause.about());
        if is_about == About::Whatever && now - trouble.last > QUIET {
            // There may be no record behind it yet that would show that it is over.
            self.trouble = None;
            return None;
        }
        let is_certain = trouble.times >= TIMES || is_about != About::Whatever && since >= QUIET;
        (is_certain && since >= trouble.wait).then(|| ReadStep::Search(trouble.at, trouble.cause.clone()))
    }

    /// What was found in a search: what is given up, and from where the client is to go on.
    pub(in crate::source) fn found(
        &mut self,
        found: ProbeResult,
        now: Instant,
    ) -> (Option<Unreadable>, Option<ReadStep>) {
        let Some(mut trouble) = self.trouble.take() else { return (None, None) };
        match found {
            ProbeResult::Behind { first, behind } => {
                trouble.at = first;
                let unreadable = self.unreadable(&trouble, behind);
                (self.next, self.passed) = (Some(behind), Some((trouble.cause.text, behind)));
                (Some(unreadable), Some(ReadStep::Seek(behind)))
            }
            ProbeResult::Readable => (None, Some(ReadStep::Seek(trouble.at))),
            ProbeResult::Nothing => (None, None),
            ProbeResult::Unclear => {
                let wait = (trouble.wait * 2).min(WAIT_AT_MOST);
                self.trouble = Some(ReadTrouble { times: 0, since: now, wait, ..trouble });
                (None, None)
            }
        }
    }

    fn unreadable(&self, trouble: &ReadTrouble, behind: i64) -> Unreadable {
        let place = Place { topic: self.topic.clone(), partition: self.partition, offset: trouble.at };
        Unreadable { place, last: behind - 1, cause: trouble.cause.to_string() }
    }
}

#[cfg(test)]
mod tests;
