//! Reads the partitions whose records wait in lines, with one task per assigned partition. A new record is processed
//! or waits in its line. A waiting record is read again when its line moves.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use rdkafka::consumer::ConsumerContext;
use rdkafka::message::BorrowedMessage;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::completion::Mark;
use super::lines::{Lines, Plan, WaitingRecord};
use super::partition::PartitionState;
use super::read_error::Cause;
use super::read_state::ErrorRepeats;
use super::records::{NextRecord, RecordQueue, pass_on_unreadable};
use super::reread::{Reread, Rereader};
use super::{Backlog, Record, Turn, Unreadable};
use crate::id::{Line, Place};
use crate::kafka::KafkaError;
use crate::receipt::{Budget, Receipt};
use crate::time::now_ms;

/// How often the lines are planned.
const LOOK: Duration = Duration::from_millis(10);
/// How often at least if records move when they are due: an event may let them move earlier.
const LOOK_TIMED: Duration = Duration::from_millis(250);
/// The same if no record waits. A new record wakes the task.
const IDLE: Duration = Duration::from_millis(500);
/// Max records read in a row before the task yields.
const BATCH: usize = 256;
/// The part of the room for open records from which records that can wait elsewhere are moved there.
const CROWDED: f64 = 0.75;

/// How long a planned record may fail to arrive. After that the plan is made again.
const STUCK: Duration = Duration::from_secs(10);

/// The pause after an error of the client.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the number of waiting calls is reported.
const TELL: Duration = Duration::from_millis(200);
/// How often the largest lines are reported, and how many of them.
const TELL_LINES: Duration = Duration::from_secs(1);
const MOST_LINES: usize = 500;

/// How many records may have settled behind the first waiting record. About this number of runs of settled records
/// fits in a completion map. Records that do not fit are read again after a crash or a rebalance.
const SETTLED: usize = 2000;

/// The state of a partition's task.
struct BacklogTask<B> {
    book: Arc<PartitionState>,
    budget: Arc<Budget>,
    backlog: B,
    lines: Lines,
    /// The records to read again, the next one first.
    plan: Plan,
    /// Lines that could not move after all, since the plan was made.
    refused: HashSet<Line>,
    born: Instant,
    /// When the next plan is due.
    look_at: Instant,
    /// When the number of waiting calls and the largest lines were reported last.
    told: Option<Instant>,
    told_lines: Option<Instant>,
    last: i64,
    /// Errors of waiting records that can't be read again.
    repeats: ErrorRepeats,
    /// The log went back since the last read of waiting records.
    went_back: bool,
    /// When the plan was made, or a record of it was read.
    moved: Instant,
    read: Counter,
    completed: Counter,
}

/// Reads the partition until it is stopped. Records that wait at that time are not under way and are read again.
pub(super) async fn run<C: ConsumerContext, B: Backlog>(
    stopping: CancellationToken,
    book: Arc<PartitionState>,
    mut arrivals: RecordQueue<C>,
    rereader: Arc<Rereader>,
    budget: Arc<Budget>,
    backlog: B,
) {
    let mut reread = None;
    let told = BacklogGauges::of(backlog.topic_label(), book.partition);
    let mut task = BacklogTask::new(book, budget, backlog);
    while !stopping.is_cancelled() {
        let mut is_busy = task.arrivals(&mut arrivals).await;
        is_busy |= task.read_again(&mut reread, &rereader).await;
        if is_busy {
            tokio::task::yield_now().await;
            continue;
        }
        task.tell(&told);
        tokio::select! {
            () = arrivals.arrived() => {}
            () = again(reread.as_ref()) => {}
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(task.rest()) => {}
        }
    }
}

/// The gauges of a partition. They are reset on drop, because the partition's next owner reports them.
struct BacklogGauges {
    waiting: Gauge,
    oldest: Gauge,
}

impl BacklogGauges {
    fn of(topic_label: &str, partition: i32) -> Self {
        let labels = [("where", topic_label.to_owned()), ("partition", partition.to_string())];
        Self {
            waiting: gauge!("outhook_calls_waiting", &labels),
            oldest: gauge!("outhook_oldest_waiting_call_seconds", &labels),
        }
    }
}

impl Drop for BacklogGauges {
    fn drop(&mut self) {
        self.waiting.set(0.0);
        self.oldest.set(0.0);
    }
}

/// Resolves when records that are read again have arrived.
async fn again(reread: Option<&Reread>) {
    match reread {
        Some(reread) => reread.arrived.notified().await,
        None => std::future::pending().await,
    }
}

impl<B: Backlog> BacklogTask<B> {
    fn new(book: Arc<PartitionState>, budget: Arc<Budget>, backlog: B) -> Self {
        let topic = book.topic.to_string();
        Self {
            read: counter!("outhook_records_total", "topic" => topic.clone()),
            completed: counter!("outhook_records_completed_before_total", "topic" => topic),
            moved: Instant::now(),
            book,
            budget,
            lines: Lines::new(backlog.is_timed()),
            backlog,
            plan: Plan::new(),
            refused: HashSet::new(),
            born: Instant::now(),
            look_at: Instant::now(),
            told: None,
            told_lines: None,
            last: i64::MIN,
            repeats: ErrorRepeats::default(),
            went_back: false,
        }
    }

    /// Processes a batch of new records; true if there were any.
    async fn arrivals<C: ConsumerContext>(&mut self, arrivals: &mut RecordQueue<C>) -> bool {
        let mut any = false;
        for _ in 0..BATCH {
            if !self.may_read() {
                break;
            }
            match arrivals.poll() {
                Some(NextRecord::Record(message, before)) => {
                    if let Some(unreadable) = before {
                        self.pass_on_unreadable(&unreadable).await;
                    }
                    self.arrived(&message).await;
                }
                Some(NextRecord::Unreadable(unreadable)) => self.pass_on_unreadable(&unreadable).await,
                Some(NextRecord::Failed) => {}
                None => break,
            }
            any = true;
        }
        any
    }

    async fn arrived(&mut self, message: &BorrowedMessage<'_>) {
        let topic = self.book.topic.clone();
        let record = Record { topic: &topic, message };
        let offset = record.offset();
        if offset <= self.last {
            // The log went back. The waiting records and the fetched ones are of a log that is gone.
            (self.lines, self.plan, self.went_back) = (Lines::new(self.backlog.is_timed()), Plan::new(), true);
        }
        self.last = offset;
        self.read.increment(1);
        let Some(entry) = self.book.open(Mark { offset, timestamp: record.timestamp_ms() }).await else {
            return self.completed.increment(1);
        };
        let receipt = self.receipt(entry);
        let Some(spot) = self.backlog.arrives(&record) else { return receipt.settle() };
        let waiting = WaitingRecord { entry, due_ms: spot.due_ms, since_ms: record.timestamp_ms() };
        if self.lines.has(spot.line) || spot.due_ms > now_ms() || self.is_full() {
            receipt.put_back();
            return self.lines.wait(spot.line, offset, waiting);
        }
        if let Err((receipt, line)) = self.backlog.handle(record, receipt, Turn::Go).await {
            receipt.put_back();
            self.lines.wait(line, offset, waiting);
        }
    }

    async fn pass_on_unreadable(&mut self, unreadable: &Unreadable) {
        let backlog = &mut self.backlog;
        pass_on_unreadable(&self.book, &self.budget, unreadable, |it, receipt| backlog.unreadable(it, receipt)).await;
    }

    /// Reads a batch of planned records again; true if there were any.
    async fn read_again(&mut self, reread: &mut Option<Reread>, rereader: &Rereader) -> bool {
        if std::mem::take(&mut self.went_back)
            && let Some(reread) = reread
        {
            reread.leave();
        }
        self.make_plan();
        let Some(first) = self.plan.keys().next().copied() else {
            if let Some(reread) = reread {
                reread.leave_when_idle();
            }
            return false;
        };
        if self.is_full() || !self.book.may_settle_more() {
            self.moved = Instant::now();
            return false;
        }
        if self.moved.elapsed() >= STUCK {
            // The record may be gone, with no record behind it that would show it.
            let (topic, partition) = (&self.book.topic, self.book.partition);
            warn!(%topic, partition, offset = first, "a waiting call did not arrive; it is read again");
            (self.plan, self.moved) = (Plan::new(), Instant::now());
            return false;
        }
        let reread = match reread {
            Some(reread) => reread,
            None => match rereader.of(&self.book.topic, self.book.partition) {
                Ok(made) => reread.insert(made),
                Err(error) => {
                    self.put_off(&error);
                    return false;
                }
            },
        };
        if let Err(error) = reread.go_to(first) {
            self.put_off(&error);
            return false;
        }
        let topic = self.book.topic.clone();
        let mut any = false;
        for _ in 0..BATCH {
            let is_in_place = match reread.poll() {
                Some(Ok(message)) => self.again(Record { topic: &topic, message: &message }).await,
                Some(Err(error)) => {
                    // The error may be of an earlier position. The next result is of the wanted position.
                    reread.leave();
                    self.not_again(&error);
                    break;
                }
                None => break,
            };
            any = true;
            if !is_in_place {
                self.drop_gone(reread).await;
                break;
            }
            if self.plan.is_empty() {
                break;
            }
        }
        any
    }

    /// A waiting record can't be read again. If the error is permanent, the record is dead-lettered.
    fn not_again(&mut self, error: &KafkaError) {
        let (topic, partition) = (self.book.topic.clone(), self.book.partition);
        let Some((offset, (line, _))) = self.plan.first_key_value().map(|(offset, what)| (*offset, *what)) else {
            return;
        };
        let Some(cause) = Cause::of(error).filter(|cause| self.repeats.are_certain(offset, cause)) else {
            return self.put_off(error);
        };
        error!(%topic, partition, offset, %cause, "a waiting call can't be read again: it is dead-lettered");
        self.plan.remove(&offset);
        let Some(waiting) = self.lines.take(line, offset) else { return };
        metrics::counter!("outhook_records_unreadable_total", "topic" => topic.to_string()).increment(1);
        self.book.unpark(waiting.entry);
        let place = Place { topic, partition, offset };
        let unreadable = Unreadable { place, last: offset, cause: cause.to_string() };
        self.backlog.unreadable(&unreadable, self.receipt(waiting.entry));
    }

    /// Reports how many calls wait, and how long the oldest has waited.
    fn tell(&mut self, told: &BacklogGauges) {
        if self.told.is_some_and(|at| at.elapsed() < TELL) {
            return;
        }
        self.told = Some(Instant::now());
        if self.told_lines.is_none_or(|at| at.elapsed() >= TELL_LINES) {
            self.told_lines = Some(Instant::now());
            self.backlog.waiting(self.lines.waits(MOST_LINES));
        }
        told.waiting.set(self.lines.len() as f64);
        let age_ms = self.lines.oldest_ms().map_or(0, |since_ms| now_ms().saturating_sub(since_ms).max(0));
        told.oldest.set(age_ms as f64 / 1e3);
    }

    fn make_plan(&mut self) {
        let began = Instant::now();
        if !self.plan.is_empty() || began < self.look_at || self.lines.len() == 0 {
            return;
        }
        self.refused.clear();
        if self.backlog.wants_review(self.lines.len()) {
            self.lines.review();
        }
        let (now, is_crowded, backlog) = (self.born.elapsed(), self.is_crowded(), &mut self.backlog);
        self.plan = self.lines.plan(now, now_ms(), is_crowded, |line| backlog.moves(line));
        self.moved = Instant::now();
        // With a large number of lines planning takes long, and is then done less often.
        self.look_at = began + self.next_look().max(began.elapsed() * 20);
    }

    /// The time until the next plan.
    fn next_look(&self) -> Duration {
        if !self.backlog.is_timed() {
            return LOOK;
        }
        let first_due_ms = self.lines.first_due_ms().unwrap_or(i64::MAX);
        let until_due = u64::try_from(first_due_ms.saturating_sub(now_ms())).unwrap_or(0);
        Duration::from_millis(until_due).clamp(LOOK, LOOK_TIMED)
    }

    /// How long the task may sleep if no record arrives.
    fn rest(&self) -> Duration {
        match self.plan.is_empty() {
            true if self.lines.len() == 0 && self.may_read() => IDLE,
            true => self.look_at.saturating_duration_since(Instant::now()).max(LOOK),
            false => LOOK,
        }
    }

    /// Whether one more record may be read.
    fn may_read(&self) -> bool {
        self.lines.len() < self.backlog.reads_ahead() && self.book.has_room()
    }

    /// Postpones reading, because waiting records can't be read now.
    fn put_off(&mut self, error: &KafkaError) {
        error!(topic = %self.book.topic, partition = self.book.partition, %error, "can't read waiting calls; retrying");
        self.plan.clear();
        self.look_at = Instant::now() + PAUSE;
    }

    /// Processes a record that was read again. False if a planned record before it is missing.
    async fn again(&mut self, record: Record<'_>) -> bool {
        let offset = record.offset();
        if self.plan.first_key_value().is_some_and(|(first, _)| *first < offset) {
            return false;
        }
        let Some((line, turn)) = self.plan.remove(&offset) else { return true };
        self.moved = Instant::now();
        if turn == Turn::Go && self.refused.contains(&line) {
            return true;
        }
        let Some(waiting) = self.lines.take(line, offset) else { return true };
        self.book.unpark(waiting.entry);
        let receipt = self.receipt(waiting.entry);
        if let Err((receipt, waits_in)) = self.backlog.handle(record, receipt, turn).await {
            receipt.put_back();
            self.lines.wait(waits_in, offset, waiting);
            if turn != Turn::Review {
                self.lines.stood_still(line, self.born.elapsed());
                self.refused.insert(line);
            }
        }
        true
    }

    /// Drops planned records that are gone. A record arrived while an earlier one was planned: the earlier record is
    /// gone, unless the client returned a record that it had fetched for another position. Records that still exist
    /// are read again.
    async fn drop_gone(&mut self, reread: &mut Reread) {
        reread.leave();
        let Some(first) = reread.first_offset().await else { return };
        let still_there = self.plan.split_off(&first);
        for (offset, (line, _)) in std::mem::replace(&mut self.plan, still_there) {
            self.gone(line, offset);
        }
    }

    /// Settles a waiting record that retention has deleted.
    fn gone(&mut self, line: Line, offset: i64) {
        let Some(waiting) = self.lines.take(line, offset) else { return };
        let (topic, partition) = (&self.book.topic, self.book.partition);
        warn!(%topic, partition, offset, "a waiting call was deleted from its topic: is its retention too short?");
        metrics::counter!("outhook_waiting_calls_lost_total").increment(1);
        self.book.unpark(waiting.entry);
        self.receipt(waiting.entry).settle();
    }

    fn receipt(&self, entry: u64) -> Receipt {
        Receipt::open(self.book.clone(), entry, self.budget.clone())
    }

    /// Whether the byte budget is used up.
    fn is_full(&self) -> bool {
        self.budget.used() >= self.budget.limit()
    }

    /// Whether waiting records take up almost all the room for open records, or the number of records settled behind
    /// them is so large that a crash would send too many again.
    fn is_crowded(&self) -> bool {
        let (open, most) = (self.book.open_records(), self.book.most_open());
        open as f64 >= most as f64 * CROWDED || open.saturating_sub(self.lines.len()) > SETTLED
    }
}
