//! The read state of a partition: the next offset, and the error that Kafka's client reports there.
//!
//! An error that repeats forever at one offset would block all records behind it. So the partition is probed for the
//! next offset that can be read, and reading continues there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::UnreadableRange;
use super::probe::SearchResult;
use super::read_error::{ErrorScope, ReadError};
use crate::id::RecordPosition;
use crate::kafka::{ErrorCode, errors};
use crate::lifecycle::{Readiness, UnmetCondition};

/// An error is permanent if it repeats this many times at one offset, during at least [`MIN_ERROR_DURATION`].
const MIN_REPEATS: u32 = 5;
const MIN_ERROR_DURATION: Duration = Duration::from_secs(1);
/// Max of this time. It doubles after each search without a result.
const MAX_ERROR_DURATION: Duration = Duration::from_secs(60);

/// How long to wait for a record or another error after an error, because some errors occur only once and then
/// nothing follows.
const QUIET_PERIOD: Duration = Duration::from_secs(5);

/// The read state of a partition.
pub(in crate::source) struct ReadState {
    topic: Arc<str>,
    partition: i32,
    readiness: Readiness,
    /// The next offset to read; None until it is known.
    next_offset: Option<i64>,
    current_error: Option<CurrentError>,
    /// The client's text of the last skipped error, and the offset behind it at which reading continued.
    last_skipped: Option<(String, i64)>,
}

struct CurrentError {
    offset: i64,
    cause: ReadError,
    repeats: u32,
    first_seen: Instant,
    last_seen: Instant,
    /// How long the error must last before the partition is probed.
    probe_after: Duration,
    unmet_condition: Option<UnmetCondition>,
}

/// Counts a repeated error at one offset, independent of a [`ReadState`].
#[derive(Default)]
pub(in crate::source) struct ErrorRepeats(Option<(i64, ErrorCode, u32, Instant)>);

impl ErrorRepeats {
    /// Counts an error at an offset. True if it is certain that the error is about the data there and is permanent.
    pub(in crate::source) fn count_and_check_permanent(&mut self, offset: i64, cause: &ReadError) -> bool {
        let before = self.0.filter(|(at, code, ..)| (*at, *code) == (offset, cause.code));
        let (_, _, times, since) = before.unwrap_or((offset, cause.code, 0, Instant::now()));
        self.0 = Some((offset, cause.code, times + 1, since));
        times + 1 >= MIN_REPEATS && since.elapsed() >= MIN_ERROR_DURATION && cause.scope() != ErrorScope::Unknown
    }
}

/// The next step after an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum ReadStep {
    /// Continue reading at this offset.
    Seek(i64),
    /// Probe whether this offset can be read, and if not, which next offset can.
    Search(i64, ReadError),
}

impl ReadState {
    /// `next` is the group's committed offset.
    pub(in crate::source) fn new(topic: Arc<str>, partition: i32, next: Option<i64>, readiness: Readiness) -> Self {
        Self { topic, partition, readiness, next_offset: next, current_error: None, last_skipped: None }
    }

    /// The next offset to read, if it is known.
    pub(in crate::source) fn next(&self) -> Option<i64> {
        self.next_offset
    }

    /// Continues at this offset, and forgets errors before it.
    pub(in crate::source) fn continue_at(&mut self, offset: i64) {
        (self.next_offset, self.current_error, self.last_skipped) = (Some(offset), None, None);
    }

    pub(in crate::source) fn has_error(&self) -> bool {
        self.current_error.is_some()
    }

    /// Updates the state with a record. Returns the offsets that the client has skipped after it reported their
    /// error.
    pub(in crate::source) fn record(&mut self, offset: i64) -> Option<UnreadableRange> {
        (self.next_offset, self.last_skipped) = (Some(offset + 1), None);
        let trouble = self.current_error.take()?;
        (trouble.cause.scope() == ErrorScope::Batch && trouble.offset < offset)
            .then(|| self.unreadable_range(&trouble, offset))
    }

    /// Updates the state with an error.
    pub(in crate::source) fn on_error(&mut self, cause: ReadError, now: Instant) -> Option<ReadStep> {
        if let Some((text, behind)) = &self.last_skipped
            && *text == cause.text
        {
            // The error was fetched before the client moved to the next offset.
            return Some(ReadStep::Seek(*behind));
        }
        let Some(at) = self.next_offset.max(cause.offset()) else {
            warn!(topic = %self.topic, partition = self.partition, %cause, "the client retries after a Kafka error");
            return None;
        };
        match self.current_error.as_mut().filter(|trouble| (trouble.offset, trouble.cause.code) == (at, cause.code)) {
            Some(trouble) => {
                (trouble.repeats, trouble.last_seen) = (trouble.repeats + 1, now);
                let name = || format!("records readable at {}/{} offset {at}", self.topic, self.partition);
                trouble.unmet_condition.get_or_insert_with(|| self.readiness.add_unmet(name()));
                debug!(topic = %self.topic, partition = self.partition, at, %cause, "the same Kafka error again");
            }
            None => {
                let error = errors::error_text_for(Some(cause.code), &cause.text);
                warn!(topic = %self.topic, partition = self.partition, at, error, "a Kafka error; the client retries");
                self.current_error = Some(CurrentError {
                    offset: at,
                    cause,
                    repeats: 1,
                    first_seen: now,
                    last_seen: now,
                    probe_after: MIN_ERROR_DURATION,
                    unmet_condition: None,
                });
            }
        }
        None
    }

    /// The step that is due. Must be called periodically.
    pub(in crate::source) fn due(&mut self, now: Instant) -> Option<ReadStep> {
        let trouble = self.current_error.as_ref()?;
        let (since, is_about) = (now - trouble.first_seen, trouble.cause.scope());
        if is_about == ErrorScope::Unknown && now - trouble.last_seen > QUIET_PERIOD {
            // There may be no later record yet that would show that the error is over.
            self.current_error = None;
            return None;
        }
        let is_certain = trouble.repeats >= MIN_REPEATS || is_about != ErrorScope::Unknown && since >= QUIET_PERIOD;
        (is_certain && since >= trouble.probe_after).then(|| ReadStep::Search(trouble.offset, trouble.cause.clone()))
    }

    /// Updates the state with the result of a search. Returns the offsets to dead-letter, and where reading
    /// continues.
    pub(in crate::source) fn on_search_result(
        &mut self,
        found: SearchResult,
        now: Instant,
    ) -> (Option<UnreadableRange>, Option<ReadStep>) {
        let Some(mut trouble) = self.current_error.take() else { return (None, None) };
        match found {
            SearchResult::Unreadable { first, behind } => {
                trouble.offset = first;
                let unreadable = self.unreadable_range(&trouble, behind);
                (self.next_offset, self.last_skipped) = (Some(behind), Some((trouble.cause.text, behind)));
                (Some(unreadable), Some(ReadStep::Seek(behind)))
            }
            SearchResult::Readable => (None, Some(ReadStep::Seek(trouble.offset))),
            SearchResult::NoRecord => (None, None),
            SearchResult::Inconclusive => {
                let wait = (trouble.probe_after * 2).min(MAX_ERROR_DURATION);
                self.current_error = Some(CurrentError { repeats: 0, first_seen: now, probe_after: wait, ..trouble });
                (None, None)
            }
        }
    }

    fn unreadable_range(&self, trouble: &CurrentError, behind: i64) -> UnreadableRange {
        let place = RecordPosition { topic: self.topic.clone(), partition: self.partition, offset: trouble.offset };
        UnreadableRange { first: place, last_offset: behind - 1, cause: trouble.cause.to_string() }
    }
}

#[cfg(test)]
mod tests;
