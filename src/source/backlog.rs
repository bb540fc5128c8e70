//! One task an assigned partition whose records wait in lines: what comes is offered or waits; what waits is read again
//! when its line moves.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::{Gauge, gauge};
use rdkafka::message::BorrowedMessage;
use tokio::time::Instant;
use tracing::{error, warn};

use super::completion::Mark;
use super::lines::{Lines, Waiting};
use super::partition::{PartitionBook, RecordQueue, report};
use super::reread::{Reread, Rereader};
use super::{Backlog, Handlers, Record};
use crate::id::Line;
use crate::lifecycle::Stopping;
use crate::receipt::{Budget, Receipt};

/// How often it is asked which lines move.
const LOOK: Duration = Duration::from_millis(10);
/// The same where nothing waits; what comes wakes the task.
const IDLE: Duration = Duration::from_millis(500);
/// How many records are read in a row before others have a turn.
const BATCH: usize = 256;
/// Part of the room for open records from which on what can go elsewhere goes there.
const CROWDED: f64 = 0.75;

/// How often it is told how long calls have waited, where nothing else changes.
const TELL: Duration = Duration::from_secs(1);

/// How often what can go elsewhere is looked for where it is crowded.
const RELIEF: Duration = Duration::from_secs(1);

/// What a partition's task works with.
struct Task<B> {
    book: Arc<PartitionBook>,
    budget: Arc<Budget>,
    backlog: B,
    lines: Lines,
    /// What is to be read again, the next one first.
    plan: BTreeMap<i64, Line>,
    /// Lines of the plan that did not move after all.
    still: HashSet<Line>,
    born: Instant,
    looked: Option<Instant>,
    /// When it was told how many wait, and how many.
    told: Option<(Instant, usize)>,
    /// When all that waits was offered last.
    relieved: Option<Instant>,
    last: i64,
}

/// Reads the partition until told to stop. What waits then is not under way, and comes again. `stopping` comes first
/// because it is dropped last: by then the queues are gone.
pub(super) async fn run<H: Handlers>(
    mut stopping: Stopping,
    book: Arc<PartitionBook>,
    arrivals: RecordQueue<H>,
    rereader: Arc<Rereader>,
    budget: Arc<Budget>,
    backlog: H::Backlog,
) {
    let mut reread = None;
    let told = Told::of(book.partition);
    let mut task = Task::new(book, budget, backlog);
    while !stopping.is_asked() {
        let mut is_busy = task.arrivals(&arrivals).await;
        is_busy |= task.read_again(&mut reread, &rereader).await;
        if is_busy {
            tokio::task::yield_now().await;
            continue;
        }
        task.tell(&told);
        let wait = if task.lines.len() == 0 { IDLE } else { LOOK };
        tokio::select! {
            () = arrivals.arrived() => {}
            () = again(reread.as_ref()) => {}
            () = stopping.asked() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The gauges of a partition. Whoever reads it next tells them.
struct Told {
    waiting: Gauge,
    oldest: Gauge,
}

impl Told {
    fn of(partition: i32) -> Self {
        let partition = partition.to_string();
        Self {
            waiting: gauge!("outhook_calls_waiting", "where" => "overflow", "partition" => partition.clone()),
            oldest: gauge!("outhook_oldest_waiting_call_seconds", "where" => "overflow", "partition" => partition),
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.waiting.set(0.0);
        self.oldest.set(0.0);
    }
}

/// Resolves when records that are read again have come.
async fn again(reread: Option<&Reread>) {
    match reread {
        Some(reread) => reread.arrived.notified().await,
        None => std::future::pending().await,
    }
}

impl<B: Backlog> Task<B> {
    fn new(book: Arc<PartitionBook>, budget: Arc<Budget>, backlog: B) -> Self {
        Self {
            book,
            budget,
            backlog,
            lines: Lines::default(),
            plan: BTreeMap::new(),
            still: HashSet::new(),
            born: Instant::now(),
            looked: None,
            told: None,
            relieved: None,
            last: i64::MIN,
        }
    }

    /// Takes in some of what has come; true if there was any.
    async fn arrivals<H: Handlers>(&mut self, arrivals: &RecordQueue<H>) -> bool {
        let mut any = false;
        for _ in 0..BATCH {
            if !self.book.has_room() {
                break;
            }
            match arrivals.poll() {
                Some(Ok(message)) => self.arrived(&message).await,
                Some(Err(error)) => report(&self.book, &error),
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
            // The log went back. What waited is of a log that is gone.
            (self.lines, self.plan) = Default::default();
        }
        self.last = offset;
        let Some(entry) = self.book.open(Mark { offset, timestamp: record.timestamp_ms() }).await else { return };
        let receipt = self.receipt(entry);
        let Some(place) = self.backlog.arrives(&record) else { return receipt.settle() };
        let waiting = Waiting { entry, due_ms: place.due_ms, since_ms: record.timestamp_ms() };
        if self.lines.has(place.line) || place.due_ms > now_ms() || self.is_full() {
            receipt.put_back();
            return self.lines.wait(place.line, offset, waiting);
        }
        if let Err(receipt) = self.backlog.offer(record, receipt, false).await {
            receipt.put_back();
            self.lines.wait(place.line, offset, waiting);
        }
    }

    /// Reads again some of what may go; true if there was any.
    async fn read_again(&mut self, reread: &mut Option<Reread>, rereader: &Rereader) -> bool {
        let is_crowded = self.is_crowded();
        self.make_plan(is_crowded);
        let Some(first) = self.plan.keys().next().copied() else { return false };
        if self.is_full() {
            return false;
        }
        let reread = match reread {
            Some(reread) => reread,
            None => match rereader.of(&self.book.topic, self.book.partition) {
                Ok(made) => reread.insert(made),
                Err(error) => {
                    error!(topic = %self.book.topic, %error, "waiting calls can't be read again");
                    self.plan.clear();
                    return false;
                }
            },
        };
        if let Err(error) = reread.go_to(first) {
            report(&self.book, &error);
            return false;
        }
        let topic = self.book.topic.clone();
        let mut any = false;
        for _ in 0..BATCH {
            match reread.poll() {
                Some(Ok(message)) => self.again(Record { topic: &topic, message: &message }, is_crowded).await,
                Some(Err(error)) => report(&self.book, &error),
                None => break,
            }
            any = true;
            if self.plan.is_empty() {
                break;
            }
        }
        if self.lines.len() == 0 {
            reread.leave();
        }
        any
    }

    /// Tells how many calls wait, and how long the oldest has.
    fn tell(&mut self, told: &Told) {
        let counted = self.lines.len();
        if self.told.is_some_and(|(at, before)| before == counted && at.elapsed() < TELL) {
            return;
        }
        self.told = Some((Instant::now(), counted));
        told.waiting.set(counted as f64);
        let age_ms = self.lines.oldest_ms().map_or(0, |since_ms| now_ms().saturating_sub(since_ms).max(0));
        told.oldest.set(age_ms as f64 / 1e3);
    }

    fn make_plan(&mut self, is_crowded: bool) {
        if !self.plan.is_empty() || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) || self.lines.len() == 0 {
            return;
        }
        self.looked = Some(Instant::now());
        self.still.clear();
        let is_relief = is_crowded && self.relieved.is_none_or(|relieved| relieved.elapsed() >= RELIEF);
        if self.backlog.wants_review() || is_relief {
            self.relieved = Some(Instant::now());
            self.lines.review();
        }
        let (now, backlog) = (self.born.elapsed(), &mut self.backlog);
        self.plan = self.lines.plan(now, now_ms(), |line| backlog.moves(line));
    }

    /// A record was read again.
    async fn again(&mut self, record: Record<'_>, is_crowded: bool) {
        let offset = record.offset();
        while let Some((gone, line)) = self.plan.first_key_value().map(|(gone, line)| (*gone, *line)) {
            if gone >= offset {
                break;
            }
            self.plan.pop_first();
            self.gone(line, gone);
        }
        let Some(line) = self.plan.remove(&offset) else { return };
        if self.still.contains(&line) && !is_crowded {
            return;
        }
        let Some(waiting) = self.lines.take(line, offset) else { return };
        self.book.unpark(waiting.entry);
        let receipt = self.receipt(waiting.entry);
        if let Err(receipt) = self.backlog.offer(record, receipt, is_crowded).await {
            receipt.put_back();
            self.lines.wait(line, offset, waiting);
            self.lines.stood_still(line, self.born.elapsed());
            if !self.lines.is_in_review() {
                self.still.insert(line);
            }
        }
    }

    /// Retention has deleted a record that waited.
    fn gone(&mut self, line: Line, offset: i64) {
        let Some(waiting) = self.lines.take(line, offset) else { return };
        let (topic, partition) = (&self.book.topic, self.book.partition);
        warn!(%topic, partition, offset, "a call that waited is gone from its topic: is its retention too short?");
        metrics::counter!("outhook_waiting_calls_lost_total").increment(1);
        self.book.unpark(waiting.entry);
        self.receipt(waiting.entry).settle();
    }

    fn receipt(&self, entry: u64) -> Receipt {
        Receipt::open(self.book.clone(), entry, self.budget.clone())
    }

    /// Whether no more bytes may be in memory.
    fn is_full(&self) -> bool {
        self.budget.used() >= self.budget.limit()
    }

    /// Whether what waits is about to keep what comes from being read, or so much has settled behind it that a crash
    /// would send too much of it again.
    fn is_crowded(&self) -> bool {
        let (open, most) = (self.book.open_records(), self.book.most_open());
        open as f64 >= most as f64 * CROWDED || (open - self.lines.len().min(open)) * 5 > most
    }
}

/// The time, milliseconds since 1970.
fn now_ms() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since_1970| since_1970.as_millis() as i64)
}
