//! The read state of a partition: the next offset, and the error that Kafka's client reports there.
//!
//! An error that repeats forever at one offset would block all records behind it. So the partition is probed for the
//! next offset that can be read, and reading continues there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::Unreadable;
use super::probe::ProbeResult;
use super::read_error::{About, Cause};
use crate::id::Place;
use crate::kafka::{ErrorCode, errors};
use crate::lifecycle::{Readiness, UnmetCondition};

/// An error is permanent if it repeats this many times at one offset, during at least [`WAIT`].
const TIMES: u32 = 5;
const WAIT: Duration = Duration::from_secs(1);
/// Max of this time. It doubles after each search without a result.
const WAIT_AT_MOST: Duration = Duration::from_secs(60);

/// How long to wait for a record or another error after an error, because some errors occur only once and then
/// nothing follows.
const QUIET: Duration = Duration::from_secs(5);

/// The read state of a partition.
pub(in crate::source) struct ReadState {
    topic: Arc<str>,
    partition: i32,
    readiness: Readiness,
    /// The next offset to read; None until it is known.
    next: Option<i64>,
    trouble: Option<ReadTrouble>,
    /// The client's text of the last skipped error, and the offset behind it at which reading continued.
    passed: Option<(String, i64)>,
}

struct ReadTrouble {
    at: i64,
    cause: Cause,
    times: u32,
    since: Instant,
    last: Instant,
    /// How long the error must last before the partition is probed.
    wait: Duration,
    lack: Option<UnmetCondition>,
}

/// Counts a repeated error at one offset, independent of a [`ReadState`].
#[derive(Default)]
pub(in crate::source) struct ErrorRepeats(Option<(i64, ErrorCode, u32, Instant)>);

impl ErrorRepeats {
    /// Counts an error at an offset. True if it is certain that the error is about the data there and is permanent.
    pub(in crate::source) fn are_certain(&mut self, offset: i64, cause: &Cause) -> bool {
        let before = self.0.filter(|(at, code, ..)| (*at, *code) == (offset, cause.code));
        let (_, _, times, since) = before.unwrap_or((offset, cause.code, 0, Instant::now()));
        self.0 = Some((offset, cause.code, times + 1, since));
        times + 1 >= TIMES && since.elapsed() >= WAIT && cause.about() != About::Whatever
    }
}

/// The next step after an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum ReadStep {
    /// Continue reading at this offset.
    Seek(i64),
    /// Probe whether this offset can be read, and if not, which next offset can.
    Search(i64, Cause),
}

impl ReadState {
    /// `next` is the group's committed offset.
    pub(in crate::source) fn new(topic: Arc<str>, partition: i32, next: Option<i64>, readiness: Readiness) -> Self {
        Self { topic, partition, readiness, next, trouble: None, passed: None }
    }

    /// The next offset to read, if it is known.
    pub(in crate::source) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Continues at this offset, and forgets errors before it.
    pub(in crate::source) fn go_on(&mut self, offset: i64) {
        (self.next, self.trouble, self.passed) = (Some(offset), None, None);
    }

    pub(in crate::source) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Updates the state with a record. Returns the offsets that the client has skipped after it reported their
    /// error.
    pub(in crate::source) fn record(&mut self, offset: i64) -> Option<Unreadable> {
        (self.next, self.passed) = (Some(offset + 1), None);
        let trouble = self.trouble.take()?;
        (trouble.cause.about() == About::Batch && trouble.at < offset).then(|| self.unreadable(&trouble, offset))
    }

    /// Updates the state with an error.
    pub(in crate::source) fn failed(&mut self, cause: Cause, now: Instant) -> Option<ReadStep> {
        if let Some((text, behind)) = &self.passed
            && *text == cause.text
        {
            // The error was fetched before the client moved to the next offset.
            return Some(ReadStep::Seek(*behind));
        }
        let Some(at) = self.next.max(cause.offset()) else {
            warn!(topic = %self.topic, partition = self.partition, %cause, "the client retries after a Kafka error");
            return None;
        };
        match self.trouble.as_mut().filter(|trouble| (trouble.at, trouble.cause.code) == (at, cause.code)) {
            Some(trouble) => {
                (trouble.times, trouble.last) = (trouble.times + 1, now);
                let name = || format!("records readable at {}/{} offset {at}", self.topic, self.partition);
                trouble.lack.get_or_insert_with(|| self.readiness.lacks(name()));
                debug!(topic = %self.topic, partition = self.partition, at, %cause, "the same Kafka error again");
            }
            None => {
                let error = errors::told_as(Some(cause.code), &cause.text);
                warn!(topic = %self.topic, partition = self.partition, at, error, "a Kafka error; the client retries");
                self.trouble = Some(ReadTrouble { at, cause, times: 1, since: now, last: now, wait: WAIT, lack: None });
            }
        }
        None
    }

    /// The step that is due. Must be called periodically.
    pub(in crate::source) fn due(&mut self, now: Instant) -> Option<ReadStep> {
        let trouble = self.trouble.as_ref()?;
        let (since, is_about) = (now - trouble.since, trouble.cause.about());
        if is_about == About::Whatever && now - trouble.last > QUIET {
            // There may be no later record yet that would show that the error is over.
            self.trouble = None;
            return None;
        }
        let is_certain = trouble.times >= TIMES || is_about != About::Whatever && since >= QUIET;
        (is_certain && since >= trouble.wait).then(|| ReadStep::Search(trouble.at, trouble.cause.clone()))
    }

    /// Updates the state with the result of a search. Returns the offsets to dead-letter, and where reading
    /// continues.
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
