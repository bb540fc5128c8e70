//! Handles a waiting call. From the overflow log it goes to its lane when the lane has room, from a retry topic
//! when it is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call_definitions::{CallDefinitions, DefinitionLookup};
use super::dead_letter_unreadable;
use super::ordering;
use super::stored_calls::StoredCallReader;
use crate::deliver::{Call, CallSink as _, Lanes, SlotLease, Takes, line_of};
use crate::endpoints::{EarlySendWindow, LineWaitingCalls, PartitionReport};
use crate::id::Line;
use crate::receipt::Receipt;
use crate::settle::{CallDue, Settler, StoredCall, Tier};
use crate::source::{Backlog, LineAssignment, LineStats, Record, ReleaseLimits, RereadReason, UnreadableRange};
use crate::time::now_ms;

/// Min time between two reviews of all waiting calls. A change of definitions may have ended some of them, or may
/// have moved them to another line.
const MIN_REVIEW_INTERVAL: Duration = Duration::from_secs(5);
/// Max time between two reviews of the overflow log: some calls may have waited for too long.
const MAX_REVIEW_INTERVAL: Duration = Duration::from_secs(60);
/// Min time between two reviews of a retry topic. Its calls are due at some time anyway.
const MIN_TIMED_REVIEW_INTERVAL: Duration = Duration::from_secs(30);

/// Added to the min time for each waiting call, so that reviews take a small part of the time.
const REVIEW_INTERVAL_PER_CALL: Duration = Duration::from_micros(300);

/// How many calls of a retry topic's partition are read before they are due. They are ordered by due time, so later
/// calls can stay unread.
const MAX_READ_AHEAD: usize = 10_000;

/// The stages behind one partition with waiting calls.
pub struct RetryHandler {
    source: RetrySource,
    report: PartitionReport,
    calls: StoredCallReader,
    lanes: Arc<Lanes>,
    /// When all waiting calls were last reviewed, and the offset up to which the definitions were known then.
    last_review: (Instant, i64),
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
        settle: Arc<Settler>,
    ) -> Self {
        let reviewed = (Instant::now(), definitions.applied_offset());
        Self { source, report, calls: StoredCallReader::new(definitions, settle), lanes, last_review: reviewed }
    }

    /// The line of a call in a retry topic, if its webhook is known.
    fn line(&self, stored: &StoredCall, until: CallDue, written_ms: i64) -> Option<Line> {
        match self.calls.definitions.look_up(stored, until, written_ms) {
            DefinitionLookup::Known(target, _) => Some(line_of(&target, stored.current_endpoint(&target)?)),
            DefinitionLookup::Deleted
            | DefinitionLookup::NotReadYet
            | DefinitionLookup::Lost
            | DefinitionLookup::NotCompiled => None,
        }
    }

    /// Passes on a call of a retry topic, or writes it to another retry topic for the rest of its wait. In a review,
    /// the call continues to wait here.
    async fn process_retry(
        &self,
        mut call: Call,
        reason: RereadReason,
        until: CallDue,
        written_ms: i64,
    ) -> Result<(), (Receipt, Line)> {
        if reason == RereadReason::Review {
            let line = self.lanes.line(&call);
            return Err((call.receipt, line));
        }
        let left = until.remaining(now_ms());
        if !left.is_zero() {
            if !self.report.early_send_window(self.lanes.line(&call)).has(written_ms) {
                self.calls.settler.write_retry(call, left, None);
                return Ok(());
            }
            uncount_attempt(&mut call);
        }
        // A webhook with row order has been changed to it since, or the call was redriven.
        if let Some(call) = ordering::write_if_ordered(&self.calls.settler, call).await {
            self.lanes.send_retried(call).await;
        }
        Ok(())
    }

    /// Offers a call of the overflow log to its lane. Returns its receipt if it continues to wait.
    async fn process_overflow(&self, call: Call, reason: RereadReason, until: CallDue) -> Result<(), (Receipt, Line)> {
        // A webhook with row order has been changed to it since.
        let Some(mut call) = ordering::write_if_ordered(&self.calls.settler, call).await else { return Ok(()) };
        call.from_overflow = true;
        if !until.remaining(now_ms()).is_zero() {
            uncount_attempt(&mut call);
        }
        let back = match reason {
            RereadReason::Process => self.lanes.offer(call).err(),
            RereadReason::Relocate | RereadReason::Review => self.lanes.dead_letter_if_expired(call),
        };
        match back {
            None => Ok(()),
            Some(call) if reason == RereadReason::Relocate && self.lanes.takes(self.lanes.line(&call)).is_failing => {
                self.calls.settler.move_to_retry_topic(*call, until.remaining(now_ms()));
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
fn uncount_attempt(call: &mut Call) {
    call.attempts = call.attempts.saturating_sub(1);
}

impl Backlog for RetryHandler {
    fn topic_label(&self) -> &str {
        self.report.topic_label()
    }

    fn is_ordered_by_due_time(&self) -> bool {
        matches!(self.source, RetrySource::Tier { .. })
    }

    fn max_waiting_records(&self) -> usize {
        if self.is_ordered_by_due_time() { MAX_READ_AHEAD } else { usize::MAX }
    }

    fn assign_line(&mut self, record: &Record<'_>) -> Option<LineAssignment> {
        // A record that is not a call is detected when it is handled.
        let unreadable = LineAssignment { line: Line(0), due_ms: 0 };
        let Ok((stored, until)) = StoredCall::read_waiting(|name| record.header(name)) else { return Some(unreadable) };
        if self.calls.is_copy(&stored, record.offset()) {
            return None;
        }
        let written_ms = record.timestamp_ms();
        let line = match &self.source {
            RetrySource::Overflow { .. } => record.key().and_then(Line::from_key),
            RetrySource::Tier { .. } => self.line(&stored, until, written_ms),
        };
        let due_ms = match &mut self.source {
            RetrySource::Overflow { .. } => until.due_ms,
            RetrySource::Tier { tier, last_ms } => {
                let now_ms = now_ms();
                // After a clock was set back, a call waits no longer than the retry topic allows.
                let last = (*last_ms).min(tier.latest_ms(now_ms));
                *last_ms = tier.leaves_at_ms(written_ms, until.due_ms, now_ms).max(last);
                *last_ms
            }
        };
        Some(LineAssignment { line: line.unwrap_or(Line(0)), due_ms })
    }

    fn release_limits(&mut self, line: Line) -> ReleaseLimits {
        let EarlySendWindow { from_ms: written_from_ms, until_ms: written_by_ms } = self.report.early_send_window(line);
        let takes = match self.is_ordered_by_due_time() {
            // A call that its lane does not take is deferred to the overflow log.
            true => Takes { calls: usize::MAX, only_due: true, is_failing: false },
            false => self.lanes.takes(line),
        };
        let Takes { calls: max_records, only_due, is_failing: can_wait_elsewhere } = takes;
        ReleaseLimits { max_records, only_due, written_from_ms, written_by_ms, can_wait_elsewhere }
    }

    fn report_lines(&mut self, lines: Vec<LineStats>) {
        let of = |waits: LineStats| LineWaitingCalls {
            line: waits.line,
            calls: waits.record_count,
            oldest_ms: waits.oldest_written_ms,
        };
        self.report.update(lines.into_iter().map(of).collect());
    }

    fn needs_review(&mut self, waiting: usize) -> bool {
        let ((last, known), as_of) = (self.last_review, self.calls.definitions.applied_offset());
        let since = last.elapsed();
        let at_most = MIN_REVIEW_INTERVAL + REVIEW_INTERVAL_PER_CALL * u32::try_from(waiting).unwrap_or(u32::MAX);
        let is_due = match self.is_ordered_by_due_time() {
            true => since >= at_most.max(MIN_TIMED_REVIEW_INTERVAL) && as_of != known,
            false => since >= at_most && (as_of != known || since >= MAX_REVIEW_INTERVAL),
        };
        if is_due {
            self.last_review = (Instant::now(), as_of);
        }
        is_due
    }

    async fn handle(
        &mut self,
        record: Record<'_>,
        receipt: Receipt,
        reason: RereadReason,
    ) -> Result<(), (Receipt, Line)> {
        let Some((stored, until)) = self.calls.read(&record, &receipt) else {
            receipt.settle();
            return Ok(());
        };
        let Some(call) = self.calls.restore_call(stored, until, &record, receipt) else { return Ok(()) };
        match self.source {
            RetrySource::Overflow { .. } => self.process_overflow(call, reason, until).await,
            RetrySource::Tier { .. } => self.process_retry(call, reason, until, record.timestamp_ms()).await,
        }
    }

    fn dead_letter_unreadable(&mut self, offsets: &UnreadableRange, receipt: Receipt) {
        dead_letter_unreadable(&self.calls.settler, offsets, receipt);
    }
}
