//! The way of a call that waits in the overflow log: to its lane, when that has a place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, counter};

use super::copies::Copies;
use super::definitions::{Definitions, Known};
use super::resume::body;
use super::{input, now_ms};
use crate::deliver::{CALL_BYTES, Lanes, Share, Takes};
use crate::endpoints::{PartitionReport, Waiting};
use crate::id::Line;
use crate::matching::{Live, Target};
use crate::receipt::Receipt;
use crate::settle::{KeptCall, Settle, Until};
use crate::source::{Backlog, Moves, Record, Spot, Turn, Waits};

/// How often all calls that wait are looked at, at most and at least: some may have ended since by a change of their
/// definitions, or have waited enough.
const REVIEW_AT_MOST: Duration = Duration::from_secs(5);
const REVIEW_AT_LEAST: Duration = Duration::from_secs(60);

/// How much longer that is for each call that waits, so that it takes a small part of the time.
const REVIEW_EACH: Duration = Duration::from_micros(300);

/// The stages behind one partition of the overflow log.
pub struct Overflow {
    /// What this partition gives of the calls of webhooks that may make only so many a second.
    _share: Share,
    report: PartitionReport,
    copies: Copies,
    definitions: Definitions,
    lanes: Arc<Lanes>,
    settle: Arc<Settle>,
    /// When all that wait were looked at last, and up to where the definitions were known.
    reviewed: (Instant, i64),
    cancelled: Counter,
    copied: Counter,
}

impl Overflow {
    pub fn new(
        (share, report): (Share, PartitionReport),
        definitions: Definitions,
        lanes: Arc<Lanes>,
        settle: Arc<Settle>,
    ) -> Self {
        let (cancelled, copied) =
            (counter!("outhook_calls_total", "outcome" => "cancelled"), counter!("outhook_retry_copies_total"));
        let reviewed = (Instant::now(), definitions.as_of());
        Self {
            _share: share,
            report,
            copies: Copies::default(),
            definitions,
            lanes,
            settle,
            reviewed,
            cancelled,
            copied,
        }
    }

    fn cancel(&self, kept: &KeptCall, share: Receipt) {
        self.cancelled.increment(1);
        self.settle.cancelled(kept);
        share.settle();
    }

    /// Gives the call to its lane, or its receipt back.
    async fn send(
        &self,
        record: &Record<'_>,
        kept: KeptCall,
        (target, live): (Arc<Target>, Live),
        share: Receipt,
        (turn, until): (Turn, Until),
    ) -> Result<(), (Receipt, Line)> {
        let Some(endpoint) = kept.endpoint_of(&target) else {
            // Its URL was taken away.
            self.cancel(&kept, share);
            return Ok(());
        };
        let is_in_order = target.is_in_row_order();
        let mut call = kept.into_call(endpoint, target, live, body(record), share);
        if is_in_order {
            // Its webhook has come to want an order since.
            self.settle.in_order(call).await;
            return Ok(());
        }
        call.from_overflow = true;
        let back = match turn {
            Turn::Go => self.lanes.offer(call).err(),
            Turn::MakeRoom | Turn::Review => self.lanes.review(call),
        };
        match back {
            None => Ok(()),
            Some(call) if turn == Turn::MakeRoom && self.lanes.takes(self.lanes.line(&call)).is_failing => {
                self.settle.wait_elsewhere(*call, until.left(now_ms()));
                Ok(())
            }
            Some(call) => {
                let line = self.lanes.line(&call);
                Err((call.receipt, line))
            }
        }
    }
}

impl Backlog for Overflow {
    fn arrives(&mut self, record: &Record<'_>) -> Option<Spot> {
        let header = |name: &str| record.header(name);
        // What is no call is found out when it is handled.
        let line = record.key().and_then(Line::from_key).unwrap_or(Line(0));
        let Ok((kept, until)) = KeptCall::read_waiting(header) else { return Some(Spot { line, due_ms: 0 }) };
        if self.copies.passes_over(&kept, record.offset()) {
            self.copied.increment(1);
            return None;
        }
        Some(Spot { line, due_ms: until.due_ms })
    }

    fn moves(&mut self, line: Line) -> Moves {
        let Takes { calls, only_due, is_failing } = self.lanes.takes(line);
        // An order to retry now is of what waited when it was given.
        let written_by_ms = self.report.ordered_ms(line);
        Moves { places: calls, only_due, written_by_ms, can_leave: is_failing }
    }

    fn waiting(&mut self, lines: Vec<Waits>) {
        let of = |waits: Waits| Waiting { line: waits.line, calls: waits.records, oldest_ms: waits.oldest_ms };
        self.report.tell(lines.into_iter().map(of).collect());
    }

    fn wants_review(&mut self, waiting: usize) -> bool {
        let ((last, known), as_of) = (self.reviewed, self.definitions.as_of());
        let since = last.elapsed();
        let at_most = REVIEW_AT_MOST + REVIEW_EACH * u32::try_from(waiting).unwrap_or(u32::MAX);
        let is_due = since >= at_most && (as_of != known || since >= REVIEW_AT_LEAST);
        if is_due {
            self.reviewed = (Instant::now(), as_of);
        }
        is_due
    }

    async fn handle(&mut self, record: Record<'_>, receipt: Receipt, turn: Turn) -> Result<(), (Receipt, Line)> {
        let header = |name: &str| record.header(name);
        let (kept, until) = match KeptCall::read_waiting(header) {
            Ok(read) => read,
            Err(reason) => {
                self.settle.unreadable(&input(&record), &reason, &receipt);
                receipt.settle();
                return Ok(());
            }
        };
        let share = receipt.share(record.value().map_or(0, <[u8]>::len) + CALL_BYTES);
        receipt.settle();
        match self.definitions.known(&kept, until, record.timestamp_ms()) {
            Known::As(target, live) => return self.send(&record, kept, (target, live), share, (turn, until)).await,
            Known::NotYet | Known::NotReady => self.settle.wait_again(kept, until.definitions, body(&record), share),
            Known::Lost => self.settle.unknown(&kept, until.definitions, body(&record), share),
            Known::Gone => self.cancel(&kept, share),
        }
        Ok(())
    }
}
