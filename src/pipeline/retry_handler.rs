//! Handles a waiting call. From the overflow log it goes to its lane when the lane has room, from a retry topic
//! when it is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call_definitions::{CallDefinitions, DefinitionLookup};
use super::dead_letter_unreadable;
use super::ordering;
use super::stored_calls::StoredCalls;
use crate::deliver::{Call, CallSink as _, Lanes, SlotLease, Takes, line_of};
use crate::endpoints::{Forward, LineWaits, PartitionReport};
use crate::id::Line;
use crate::receipt::Receipt;
use crate::settle::{Due, Settle, StoredCall, Tier};
use crate::source::{Backlog, Moves, Record, Spot, Turn, Unreadable, Waits};
use crate::time::now_ms;

/// Min time between two reviews of all waiting calls. A change of definitions may have ended some of them, or may
/// have moved them to another line.
const MIN_REVIEW_INTERVAL: Duration = Duration::from_secs(5);
/// Max time between two reviews of the overflow log: some calls may have waited for too long.
const MAX_REVIEW_INTERVAL: Duration = Duration::from_secs(60);
/// Min time between two reviews of a retry topic. Its calls are due at some time anyway.
const REVIEW_TIMED: Duration = Duration::from_secs(30);

/// Added to the min time for each waiting call, so that reviews take a small part of the time.
const REVIEW_EACH: Duration = Duration::from_micros(300);

/// How many calls of a retry topic's partition are read before they are due. They are ordered by due time, so later
/// calls can stay unread.
const READ_AHEAD: usize = 10_000;

/// The stages behind one partition with waiting calls.
pub struct RetryHandler {
    source: RetrySource,
    report: PartitionReport,
    calls: StoredCalls,
    lanes: Arc<Lanes>,
    /// When all waiting calls were last reviewed, and the offset up to which the definitions were known then.
    reviewed: (Instant, i64),
}

/// The topic in which the calls wait.
pub enum RetrySource {
    /// The overflow log, with this partition's throttle slots.
    Overflow { _share: SlotLease },
    /// A retry topic. No call is sent before an earlier call of the topic, whatever their due times.
    Tier { tier: Tier, last_ms: i64 },
}

impl RetrySource {
    pub fn tier(tier: Tier) -> Self {
        Self::Tier { tier, last_ms: i64::MIN }
    }
}

impl RetryHandler {
    pub fn new(
        (source, report): (RetrySource, PartitionReport),
        definitions: CallDefinitions,
        lanes: Arc<Lanes>,
        settle: Arc<Settle>,
    ) -> Self {
        let reviewed = (Instant::now(), definitions.as_of());
        Self { source, report, calls: StoredCalls::new(definitions, settle), lanes, reviewed }
    }

    /// The line of a call in a retry topic, if its webhook is known.
    fn line(&self, kept: &StoredCall, until: Due, written_ms: i64) -> Option<Line> {
        match self.calls.definitions.known(kept, until, written_ms) {
            DefinitionLookup::As(target, _) => Some(line_of(&target, kept.endpoint_of(&target)?)),
            DefinitionLookup::Gone | DefinitionLookup::NotYet | DefinitionLookup::Lost | DefinitionLookup::NotReady => {
                None
            }
        }
    }

    /// Passes on a call of a retry topic, or writes it to another retry topic for the rest of its wait. In a review,
    /// the call continues to wait here.
    async fn resume(&self, mut call: Call, turn: Turn, until: Due, written_ms: i64) -> Result<(), (Receipt, Line)> {
        if turn == Turn::Review {
            let line = self.lanes.line(&call);
            return Err((call.receipt, line));
        }
        let left = until.left(now_ms());
        if !left.is_zero() {
            if !self.report.forward(self.lanes.line(&call)).has(written_ms) {
                self.calls.settle.wait(call, left, None);
                return Ok(());
            }
            before_its_time(&mut call);
        }
        // A webhook with row order has been changed to it since, or the call was redriven.
        if let Some(call) = ordering::write_if_ordered(&self.calls.settle, call).await {
            self.lanes.resume(call).await;
        }
        Ok(())
    }

    /// Offers a call of the overflow log to its lane. Returns its receipt if it continues to wait.
    async fn offer(&self, call: Call, turn: Turn, until: Due) -> Result<(), (Receipt, Line)> {
        // A webhook with row order has been changed to it since.
        let Some(mut call) = ordering::write_if_ordered(&self.calls.settle, call).await else { return Ok(()) };
        call.from_overflow = true;
        if !until.left(now_ms()).is_zero() {
            before_its_time(&mut call);
        }
        let back = match turn {
            Turn::Go => self.lanes.offer(call).err(),
            Turn::MakeRoom | Turn::Review => self.lanes.review(call),
        };
        match back {
            None => Ok(()),
            Some(call) if turn == Turn::MakeRoom && self.lanes.takes(self.lanes.line(&call)).is_failing => {
                self.calls.settle.wait_elsewhere(*call, until.left(now_ms()));
                Ok(())
            }
            Some(call) => {
                let line = self.lanes.line(&call);
                Err((call.receipt, line))
            }
        }
    }
}

/// An attempt before the due time is not counted in the call's schedule. So the call is not dead-lettered earlier,
/// however often its endpoint recovers or a retry is ordered.
fn before_its_time(call: &mut Call) {
    call.attempts = call.attempts.saturating_sub(1);
}

impl Backlog for RetryHandler {
    fn topic_label(&self) -> &str {
        self.report.topic_label()
    }

    fn is_timed(&self) -> bool {
        matches!(self.source, RetrySource::Tier { .. })
    }

    fn reads_ahead(&self) -> usize {
        if self.is_timed() { READ_AHEAD } else { usize::MAX }
    }

    fn arrives(&mut self, record: &Record<'_>) -> Option<Spot> {
        // A record that is not a call is detected when it is handled.
        let unreadable = Spot { line: Line(0), due_ms: 0 };
        let Ok((kept, until)) = StoredCall::read_waiting(|name| record.header(name)) else { return Some(unreadable) };
        if self.calls.is_copy(&kept, record.offset()) {
            return None;
        }
        let written_ms = record.timestamp_ms();
        let line = match &self.source {
            RetrySource::Overflow { .. } => record.key().and_then(Line::from_key),
            RetrySource::Tier { .. } => self.line(&kept, until, written_ms),
        };
        let due_ms = match &mut self.source {
            RetrySource::Overflow { .. } => until.due_ms,
            RetrySource::Tier { tier, last_ms } => {
                let now_ms = now_ms();
                // After a clock was set back, a call waits no longer than the retry topic allows.
                let last = (*last_ms).min(tier.latest_ms(now_ms));
                *last_ms = tier.goes_on_ms(written_ms, until.due_ms, now_ms).max(last);
                *last_ms
            }
        };
        Some(Spot { line: line.unwrap_or(Line(0)), due_ms })
    }

    fn moves(&mut self, line: Line) -> Moves {
        let Forward { from_ms: written_from_ms, by_ms: written_by_ms } = self.report.forward(line);
        let Takes { calls: max_records, only_due, is_failing: can_leave } = match self.is_timed() {
            // A call that its lane does not take is deferred to the overflow log.
            true => Takes { calls: usize::MAX, only_due: true, is_failing: false },
            false => self.lanes.takes(line),
        };
        Moves { max_records, only_due, written_from_ms, written_by_ms, can_leave }
    }

    fn waiting(&mut self, lines: Vec<Waits>) {
        let of = |waits: Waits| LineWaits { line: waits.line, calls: waits.records, oldest_ms: waits.oldest_ms };
        self.report.tell(lines.into_iter().map(of).collect());
    }

    fn wants_review(&mut self, waiting: usize) -> bool {
        let ((last, known), as_of) = (self.reviewed, self.calls.definitions.as_of());
        let since = last.elapsed();
        let at_most = MIN_REVIEW_INTERVAL + REVIEW_EACH * u32::try_from(waiting).unwrap_or(u32::MAX);
        let is_due = match self.is_timed() {
            true => since >= at_most.max(REVIEW_TIMED) && as_of != known,
            false => since >= at_most && (as_of != known || since >= MAX_REVIEW_INTERVAL),
        };
        if is_due {
            self.reviewed = (Instant::now(), as_of);
        }
        is_due
    }

    async fn handle(&mut self, record: Record<'_>, receipt: Receipt, turn: Turn) -> Result<(), (Receipt, Line)> {
        let Some((kept, until)) = self.calls.read(&record, &receipt) else {
            receipt.settle();
            return Ok(());
        };
        let Some(call) = self.calls.again(kept, until, &record, receipt) else { return Ok(()) };
        match self.source {
            RetrySource::Overflow { .. } => self.offer(call, turn, until).await,
            RetrySource::Tier { .. } => self.resume(call, turn, until, record.timestamp_ms()).await,
        }
    }

    fn unreadable(&mut self, offsets: &Unreadable, receipt: Receipt) {
        dead_letter_unreadable(&self.calls.settle, offsets, receipt);
    }
}
