//! The way of a call that waits in the overflow log, to its lane when that has a place; and of one in a retry topic, when
//! it is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call_definitions::{CallDefinitions, DefinitionLookup};
use super::stored_calls::StoredCalls;
use super::{dead_letter, now_ms};
use crate::deliver::{Call, CallSink as _, Lanes, SlotLease, Takes, line_of};
use crate::endpoints::{Forward, LineWaits, PartitionReport};
use crate::id::Line;
use crate::receipt::Receipt;
use crate::settle::{Due, Settle, StoredCall, Tier};
use crate::source::{Backlog, Moves, Record, Spot, Turn, Unreadable, Waits};

/// How often all calls that wait are looked at, at most: some may have ended since by a change of their definitions, or be
/// in another line.
const REVIEW_AT_MOST: Duration = Duration::from_secs(5);
/// How often those in the overflow log are looked at in any case: some may have waited enough.
const REVIEW_AT_LEAST: Duration = Duration::from_secs(60);
/// How often those in retry topics are, at most: they are due at some time anyway.
const REVIEW_TIMED: Duration = Duration::from_secs(30);

/// How much longer that is for each call that waits, so that it takes a small part of the time.
const REVIEW_EACH: Duration = Duration::from_micros(300);

/// How many calls of a partition of a retry topic are read before they are due. They are in the order of their times, so
/// those behind them can wait unread.
const READ_AHEAD: usize = 10_000;

/// The stages behind one partition in which calls wait until they may go.
pub struct RetryHandler {
    place: RetrySource,
    report: PartitionReport,
    calls: StoredCalls,
    lanes: Arc<Lanes>,
    /// When all that wait were looked at last, and up to where the definitions were known.
    reviewed: (Instant, i64),
}

/// Where they wait.
pub enum RetrySource {
    /// With what this partition gives of the calls of webhooks that may make only so many a second.
    Overflow { _share: SlotLease },
    /// A retry topic. None of its calls goes before another that came before it, whatever their own times are.
    Tier { tier: Tier, last_ms: i64 },
}

impl RetrySource {
    pub fn tier(tier: Tier) -> Self {
        Self::Tier { tier, last_ms: i64::MIN }
    }
}

impl RetryHandler {
    pub fn new(
        (place, report): (RetrySource, PartitionReport),
        definitions: CallDefinitions,
        lanes: Arc<Lanes>,
        settle: Arc<Settle>,
    ) -> Self {
        let reviewed = (Instant::now(), definitions.as_of());
        Self { place, report, calls: StoredCalls::new(definitions, settle), lanes, reviewed }
    }

    /// The line of a call that waits in a retry topic, where its webhook is known.
    fn line(&self, kept: &StoredCall, until: Due, written_ms: i64) -> Option<Line> {
        match self.calls.definitions.known(kept, until, written_ms) {
            DefinitionLookup::As(target, _) => Some(line_of(&target, kept.endpoint_of(&target)?)),
            DefinitionLookup::Gone | DefinitionLookup::NotYet | DefinitionLookup::Lost | DefinitionLookup::NotReady => {
                None
            }
        }
    }

    /// Hands a call of a retry topic on, or sends it to another one to wait for the rest of its time. In a review it goes on
    /// waiting where it is.
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
        match call.message.target.is_in_row_order() {
            // Its webhook has come to want an order since, or it was redriven.
            true => self.calls.settle.in_order(call).await,
            false => self.lanes.resume(call).await,
        }
        Ok(())
    }

    /// Gives a call of the overflow log to its lane, or its receipt back.
    async fn offer(&self, mut call: Call, turn: Turn, until: Due) -> Result<(), (Receipt, Line)> {
        if call.message.target.is_in_row_order() {
            // Its webhook has come to want an order since.
            self.calls.settle.in_order(call).await;
            return Ok(());
        }
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

/// An attempt that comes before its time is none of the call's schedule: however often its endpoint comes and goes, or
/// somebody orders it to be tried, it is given up no earlier for that.
fn before_its_time(call: &mut Call) {
    call.attempts = call.attempts.saturating_sub(1);
}

impl Backlog for RetryHandler {
    fn place(&self) -> &str {
        self.report.place()
    }

    fn is_timed(&self) -> bool {
        matches!(self.place, RetrySource::Tier { .. })
    }

    fn reads_ahead(&self) -> usize {
        if self.is_timed() { READ_AHEAD } else { usize::MAX }
    }

    fn arrives(&mut self, record: &Record<'_>) -> Option<Spot> {
        // What is no call is found out when it is handled.
        let unreadable = Spot { line: Line(0), due_ms: 0 };
        let Ok((kept, until)) = StoredCall::read_waiting(|name| record.header(name)) else { return Some(unreadable) };
        if self.calls.is_copy(&kept, record.offset()) {
            return None;
        }
        let written_ms = record.timestamp_ms();
        let line = match &self.place {
            RetrySource::Overflow { .. } => record.key().and_then(Line::from_key),
            RetrySource::Tier { .. } => self.line(&kept, until, written_ms),
        };
        let due_ms = match &mut self.place {
            RetrySource::Overflow { .. } => until.due_ms,
            RetrySource::Tier { tier, last_ms } => {
                let now_ms = now_ms();
                // A clock that was set back keeps nothing waiting for longer than the topic does.
                let last = (*last_ms).min(tier.latest_ms(now_ms));
                *last_ms = tier.goes_on_ms(written_ms, until.due_ms, now_ms).max(last);
                *last_ms
            }
        };
        Some(Spot { line: line.unwrap_or(Line(0)), due_ms })
    }

    fn moves(&mut self, line: Line) -> Moves {
        let Forward { from_ms: written_from_ms, by_ms: written_by_ms } = self.report.forward(line);
        let Takes { calls: places, only_due, is_failing: can_leave } = match self.is_timed() {
            // What the lane does not take goes to the overflow log.
            true => Takes { calls: usize::MAX, only_due: true, is_failing: false },
            false => self.lanes.takes(line),
        };
        Moves { places, only_due, written_from_ms, written_by_ms, can_leave }
    }

    fn waiting(&mut self, lines: Vec<Waits>) {
        let of = |waits: Waits| LineWaits { line: waits.line, calls: waits.records, oldest_ms: waits.oldest_ms };
        self.report.tell(lines.into_iter().map(of).collect());
    }

    fn wants_review(&mut self, waiting: usize) -> bool {
        let ((last, known), as_of) = (self.reviewed, self.calls.definitions.as_of());
        let since = last.elapsed();
        let at_most = REVIEW_AT_MOST + REVIEW_EACH * u32::try_from(waiting).unwrap_or(u32::MAX);
        let is_due = match self.is_timed() {
            true => since >= at_most.max(REVIEW_TIMED) && as_of != known,
            false => since >= at_most && (as_of != known || since >= REVIEW_AT_LEAST),
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
        match self.place {
            RetrySource::Overflow { .. } => self.offer(call, turn, until).await,
            RetrySource::Tier { .. } => self.resume(call, turn, until, record.timestamp_ms()).await,
        }
    }

    fn unreadable(&mut self, offsets: &Unreadable, receipt: Receipt) {
        dead_letter(&self.calls.settle, offsets, receipt);
    }
}
