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

use super::completion::RecordFingerprint;
use super::lines::{Lines, Plan, WaitingRecord};
use super::partition::PartitionState;
use super::read_error::ReadError;
use super::read_state::ErrorRepeats;
use super::records::{NextRecord, RecordQueue, pass_on_unreadable};
use super::{Backlog, Record, RereadReason, UnreadableRange};
use crate::id::{Line, RecordPosition};
use crate::kafka::KafkaError;
use crate::receipt::{Budget, Receipt};
use crate::source::rereader::{RereadPartition, Rereader};
use crate::time::now_ms;

/// How often the lines are planned.
const PLAN_INTERVAL: Duration = Duration::from_millis(10);
/// How often at least if records move when they are due: an event may let them move earlier.
const TIMED_PLAN_INTERVAL: Duration = Duration::from_millis(250);
/// The same if no record waits. A new record wakes the task.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// Max records read in a row before the task yields.
const BATCH_SIZE: usize = 256;
/// The part of the room for open records from which records that can wait elsewhere are moved there.
const CROWDED_RATIO: f64 = 0.75;

/// How long a planned record may fail to arrive. After that the plan is made again.
const PLAN_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after an error of the client.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How often the number of waiting calls is reported.
const GAUGE_INTERVAL: Duration = Duration::from_millis(200);
/// How often the largest lines are reported, and how many of them.
const LINE_REPORT_INTERVAL: Duration = Duration::from_secs(1);
const MAX_REPORTED_LINES: usize = 500;

/// How many records may have settled behind the first waiting record. About this number of runs of settled records
/// fits in a completion map. Records that do not fit are read again after a crash or a rebalance.
const MAX_SETTLED_BEHIND_HEAD: usize = 2000;

/// The state of a partition's task.
struct BacklogTask<B> {
    partition_state: Arc<PartitionState>,
    budget: Arc<Budget>,
    backlog: B,
    lines: Lines,
    /// The records to read again, the next one first.
    plan: Plan,
    /// Lines that could not move after all, since the plan was made.
    blocked_lines: HashSet<Line>,
    started_at: Instant,
    /// When the next plan is due.
    next_plan_at: Instant,
    /// When the number of waiting calls and the largest lines were reported last.
    gauges_set_at: Option<Instant>,
    lines_reported_at: Option<Instant>,
    last_offset: i64,
    /// Errors of waiting records that can't be read again.
    error_repeats: ErrorRepeats,
    /// The log went back since the last read of waiting records.
    log_went_back: bool,
    /// When the plan was made, or a record of it was read.
    last_progress_at: Instant,
    read_counter: Counter,
    skipped_counter: Counter,
}

/// Reads the partition until it is stopped. Records that wait at that time are not under way and are read again.
pub(super) async fn run<C: ConsumerContext, B: Backlog>(
    stopping: CancellationToken,
    partition_state: Arc<PartitionState>,
    mut arrivals: RecordQueue<C>,
    rereader: Arc<Rereader>,
    budget: Arc<Budget>,
    backlog: B,
) {
    let mut reread = None;
    let gauges = BacklogGauges::of(backlog.topic_label(), partition_state.partition);
    let mut task = BacklogTask::new(partition_state, budget, backlog);
    while !stopping.is_cancelled() {
        let mut is_busy = task.read_arrivals(&mut arrivals).await;
        is_busy |= task.reread_planned(&mut reread, &rereader).await;
        if is_busy {
            tokio::task::yield_now().await;
            continue;
        }
        task.report_waiting(&gauges);
        tokio::select! {
            () = arrivals.wait_for_records() => {}
            () = wait_for_reread(reread.as_ref()) => {}
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(task.idle_timeout()) => {}
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
async fn wait_for_reread(reread: Option<&RereadPartition>) {
    match reread {
        Some(reread) => reread.arrived.notified().await,
        None => std::future::pending().await,
    }
}

impl<B: Backlog> BacklogTask<B> {
    fn new(partition_state: Arc<PartitionState>, budget: Arc<Budget>, backlog: B) -> Self {
        let topic = partition_state.topic.to_string();
        Self {
            read_counter: counter!("outhook_records_total", "topic" => topic.clone()),
            skipped_counter: counter!("outhook_records_completed_before_total", "topic" => topic),
            last_progress_at: Instant::now(),
            partition_state,
            budget,
            lines: Lines::new(backlog.is_ordered_by_due_time()),
            backlog,
            plan: Plan::new(),
            blocked_lines: HashSet::new(),
            started_at: Instant::now(),
            next_plan_at: Instant::now(),
            gauges_set_at: None,
            lines_reported_at: None,
            last_offset: i64::MIN,
            error_repeats: ErrorRepeats::default(),
            log_went_back: false,
        }
    }

    /// Processes a batch of new records; true if there were any.
    async fn read_arrivals<C: ConsumerContext>(&mut self, arrivals: &mut RecordQueue<C>) -> bool {
        let mut any = false;
        for _ in 0..BATCH_SIZE {
            if !self.may_read() {
                break;
            }
            match arrivals.poll() {
                Some(NextRecord::Record(message, before)) => {
                    if let Some(unreadable) = before {
                        self.pass_on_unreadable(&unreadable).await;
                    }
                    self.process_arrival(&message).await;
                }
                Some(NextRecord::Unreadable(unreadable)) => self.pass_on_unreadable(&unreadable).await,
                Some(NextRecord::Failed) => {}
                None => break,
            }
            any = true;
        }
        any
    }

    async fn process_arrival(&mut self, message: &BorrowedMessage<'_>) {
        let topic = self.partition_state.topic.clone();
        let record = Record { topic: &topic, message };
        let offset = record.offset();
        if offset <= self.last_offset {
            // The log went back. The waiting records and the fetched ones are of a log that is gone.
            (self.lines, self.plan, self.log_went_back) =
                (Lines::new(self.backlog.is_ordered_by_due_time()), Plan::new(), true);
        }
        self.last_offset = offset;
        self.read_counter.increment(1);
        let Some(entry) =
            self.partition_state.open(RecordFingerprint { offset, timestamp: record.timestamp_ms() }).await
        else {
            return self.skipped_counter.increment(1);
        };
        let receipt = self.receipt(entry);
        let Some(assignment) = self.backlog.assign_line(&record) else { return receipt.settle() };
        let waiting = WaitingRecord { entry, due_ms: assignment.due_ms, written_ms: record.timestamp_ms() };
        if self.lines.has(assignment.line) || assignment.due_ms > now_ms() || self.is_budget_exhausted() {
            receipt.put_back();
            return self.lines.add(assignment.line, offset, waiting);
        }
        if let Err((receipt, line)) = self.backlog.handle(record, receipt, RereadReason::Process).await {
            receipt.put_back();
            self.lines.add(line, offset, waiting);
        }
    }

    async fn pass_on_unreadable(&mut self, unreadable: &UnreadableRange) {
        let backlog = &mut self.backlog;
        pass_on_unreadable(&self.partition_state, &self.budget, unreadable, |it, receipt| {
            backlog.dead_letter_unreadable(it, receipt)
        })
        .await;
    }

    /// Reads a batch of planned records again; true if there were any.
    async fn reread_planned(&mut self, reread: &mut Option<RereadPartition>, rereader: &Rereader) -> bool {
        if std::mem::take(&mut self.log_went_back)
            && let Some(reread) = reread
        {
            reread.unassign();
        }
        self.make_plan();
        let Some(first) = self.plan.keys().next().copied() else {
            if let Some(reread) = reread {
                reread.unassign_when_idle();
            }
            return false;
        };
        if self.is_budget_exhausted() || !self.partition_state.may_settle_more() {
            self.last_progress_at = Instant::now();
            return false;
        }
        if self.last_progress_at.elapsed() >= PLAN_TIMEOUT {
            // The record may be gone, with no record behind it that would show it.
            let (topic, partition) = (&self.partition_state.topic, self.partition_state.partition);
            warn!(%topic, partition, offset = first, "a waiting call did not arrive; it is read again");
            (self.plan, self.last_progress_at) = (Plan::new(), Instant::now());
            return false;
        }
        let reread = match reread {
            Some(reread) => reread,
            None => match rereader.open_partition(&self.partition_state.topic, self.partition_state.partition) {
                Ok(made) => reread.insert(made),
                Err(error) => {
                    self.postpone_reads(&error);
                    return false;
                }
            },
        };
        if let Err(error) = reread.seek(first) {
            self.postpone_reads(&error);
            return false;
        }
        let topic = self.partition_state.topic.clone();
        let mut any = false;
        for _ in 0..BATCH_SIZE {
            let is_in_place = match reread.poll() {
                Some(Ok(message)) => self.process_reread(Record { topic: &topic, message: &message }).await,
                Some(Err(error)) => {
                    // The error may be of an earlier position. The next result is of the wanted position.
                    reread.unassign();
                    self.handle_reread_error(&error);
                    break;
                }
                None => break,
            };
            any = true;
            if !is_in_place {
                self.settle_deleted_records(reread).await;
                break;
            }
            if self.plan.is_empty() {
                break;
            }
        }
        any
    }

    /// A waiting record can't be read again. If the error is permanent, the record is dead-lettered.
    fn handle_reread_error(&mut self, error: &KafkaError) {
        let (topic, partition) = (self.partition_state.topic.clone(), self.partition_state.partition);
        let Some((offset, (line, _))) = self.plan.first_key_value().map(|(offset, what)| (*offset, *what)) else {
            return;
        };
        let Some(cause) =
            ReadError::of(error).filter(|cause| self.error_repeats.count_and_check_permanent(offset, cause))
        else {
            return self.postpone_reads(error);
        };
        error!(%topic, partition, offset, %cause, "a waiting call can't be read again: it is dead-lettered");
        self.plan.remove(&offset);
        let Some(waiting) = self.lines.remove(line, offset) else { return };
        metrics::counter!("outhook_records_unreadable_total", "topic" => topic.to_string()).increment(1);
        self.partition_state.unpark(waiting.entry);
        let place = RecordPosition { topic, partition, offset };
        let unreadable = UnreadableRange { first: place, last_offset: offset, cause: cause.to_string() };
        self.backlog.dead_letter_unreadable(&unreadable, self.receipt(waiting.entry));
    }

    /// Reports how many calls wait, and how long the oldest has waited.
    fn report_waiting(&mut self, gauges: &BacklogGauges) {
        if self.gauges_set_at.is_some_and(|at| at.elapsed() < GAUGE_INTERVAL) {
            return;
        }
        self.gauges_set_at = Some(Instant::now());
        if self.lines_reported_at.is_none_or(|at| at.elapsed() >= LINE_REPORT_INTERVAL) {
            self.lines_reported_at = Some(Instant::now());
            self.backlog.report_lines(self.lines.largest_lines(MAX_REPORTED_LINES));
        }
        gauges.waiting.set(self.lines.len() as f64);
        let age_ms = self.lines.oldest_ms().map_or(0, |since_ms| now_ms().saturating_sub(since_ms).max(0));
        gauges.oldest.set(age_ms as f64 / 1e3);
    }

    fn make_plan(&mut self) {
        let began = Instant::now();
        if !self.plan.is_empty() || began < self.next_plan_at || self.lines.len() == 0 {
            return;
        }
        self.blocked_lines.clear();
        if self.backlog.needs_review(self.lines.len()) {
            self.lines.start_review();
        }
        let (now, is_crowded, backlog) = (self.started_at.elapsed(), self.is_crowded(), &mut self.backlog);
        self.plan = self.lines.plan(now, now_ms(), is_crowded, |line| backlog.release_limits(line));
        self.last_progress_at = Instant::now();
        // With a large number of lines planning takes long, and is then done less often.
        self.next_plan_at = began + self.time_until_next_plan().max(began.elapsed() * 20);
    }

    /// The time until the next plan.
    fn time_until_next_plan(&self) -> Duration {
        if !self.backlog.is_ordered_by_due_time() {
            return PLAN_INTERVAL;
        }
        let first_due_ms = self.lines.first_due_ms().unwrap_or(i64::MAX);
        let until_due = u64::try_from(first_due_ms.saturating_sub(now_ms())).unwrap_or(0);
        Duration::from_millis(until_due).clamp(PLAN_INTERVAL, TIMED_PLAN_INTERVAL)
    }

    /// How long the task may sleep if no record arrives.
    fn idle_timeout(&self) -> Duration {
        match self.plan.is_empty() {
            true if self.lines.len() == 0 && self.may_read() => IDLE_INTERVAL,
            true => self.next_plan_at.saturating_duration_since(Instant::now()).max(PLAN_INTERVAL),
            false => PLAN_INTERVAL,
        }
    }

    /// Whether one more record may be read.
    fn may_read(&self) -> bool {
        self.lines.len() < self.backlog.max_waiting_records() && self.partition_state.has_capacity()
    }

    /// Postpones reading, because waiting records can't be read now.
    fn postpone_reads(&mut self, error: &KafkaError) {
        error!(topic = %self.partition_state.topic, partition = self.partition_state.partition, %error, "can't read waiting calls; retrying");
        self.plan.clear();
        self.next_plan_at = Instant::now() + RETRY_DELAY;
    }

    /// Processes a record that was read again. False if a planned record before it is missing.
    async fn process_reread(&mut self, record: Record<'_>) -> bool {
        let offset = record.offset();
        if self.plan.first_key_value().is_some_and(|(first, _)| *first < offset) {
            return false;
        }
        let Some((line, reason)) = self.plan.remove(&offset) else { return true };
        self.last_progress_at = Instant::now();
        if reason == RereadReason::Process && self.blocked_lines.contains(&line) {
            return true;
        }
        let Some(waiting) = self.lines.remove(line, offset) else { return true };
        self.partition_state.unpark(waiting.entry);
        let receipt = self.receipt(waiting.entry);
        if let Err((receipt, waits_in)) = self.backlog.handle(record, receipt, reason).await {
            receipt.put_back();
            self.lines.add(waits_in, offset, waiting);
            if reason != RereadReason::Review {
                self.lines.pause_line(line, self.started_at.elapsed());
                self.blocked_lines.insert(line);
            }
        }
        true
    }

    /// Drops planned records that are gone. A record arrived while an earlier one was planned: the earlier record is
    /// gone, unless the client returned a record that it had fetched for another position. Records that still exist
    /// are read again.
    async fn settle_deleted_records(&mut self, reread: &mut RereadPartition) {
        reread.unassign();
        let Some(first) = reread.first_offset().await else { return };
        let still_there = self.plan.split_off(&first);
        for (offset, (line, _)) in std::mem::replace(&mut self.plan, still_there) {
            self.settle_deleted(line, offset);
        }
    }

    /// Settles a waiting record that retention has deleted.
    fn settle_deleted(&mut self, line: Line, offset: i64) {
        let Some(waiting) = self.lines.remove(line, offset) else { return };
        let (topic, partition) = (&self.partition_state.topic, self.partition_state.partition);
        warn!(%topic, partition, offset, "a waiting call was deleted from its topic: is its retention too short?");
        metrics::counter!("outhook_waiting_calls_lost_total").increment(1);
        self.partition_state.unpark(waiting.entry);
        self.receipt(waiting.entry).settle();
    }

    fn receipt(&self, entry: u64) -> Receipt {
        Receipt::open(self.partition_state.clone(), entry, self.budget.clone())
    }

    /// Whether the byte budget is used up.
    fn is_budget_exhausted(&self) -> bool {
        self.budget.used() >= self.budget.limit()
    }

    /// Whether waiting records take up almost all the room for open records, or the number of records settled behind
    /// them is so large that a crash would send too many again.
    fn is_crowded(&self) -> bool {
        let (open, most) = (self.partition_state.open_records(), self.partition_state.max_open_records());
        open as f64 >= most as f64 * CROWDED_RATIO || open.saturating_sub(self.lines.len()) > MAX_SETTLED_BEHIND_HEAD
    }
}
