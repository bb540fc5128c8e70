//! Stage 1: reads the records of assigned partitions, opens a receipt for each, and commits settled offsets.
//!
//! One task per assigned partition reads a record, passes it to the handler, and reads the next. A background task
//! commits the contiguous prefix of settled records. The commit metadata has the completion map, so the partition's
//! next owner skips records that have settled beyond the prefix. It also has a record of the log, which shows whether
//! the log is still the same. Revoked partitions drain until a deadline and commit. Lost partitions do neither.

mod assignment;
mod backlog;
mod callbacks;
mod commit_loop;
mod commits;
mod completion;
mod config;
mod consumer;
mod fetch_progress;
mod gaps;
mod ledger;
mod lines;
mod partition;
mod partition_key;
mod probe;
mod read_error;
mod read_state;
mod records;
mod recreation_detector;
mod rereader;
mod resumption;
mod sequential;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};

use crate::id::{Line, RecordPosition};
use crate::receipt::Receipt;

pub use self::callbacks::FatalError;
// Public only for fuzz/: nothing else outside reads or writes the metadata of a commit.
#[doc(hidden)]
pub use self::completion::{CommitMetadata, CompletionMap, RecordFingerprint};
pub use self::config::{Config, Subscription};
pub use self::consumer::{DrainedPartitions, LeaveResult, Source, StartError, client_configs};
pub use crate::source::rereader::GROUP_MEMBER_SETTINGS;

/// One Kafka record, borrowed from the client's buffer.
pub struct Record<'a> {
    topic: &'a Arc<str>,
    message: &'a BorrowedMessage<'a>,
}

impl<'a> Record<'a> {
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    pub fn partition(&self) -> i32 {
        self.message.partition()
    }

    pub fn offset(&self) -> i64 {
        self.message.offset()
    }

    pub fn position(&self) -> RecordPosition {
        RecordPosition { topic: self.topic.clone(), partition: self.partition(), offset: self.offset() }
    }

    /// Kafka's timestamp in milliseconds since 1970; 0 if the record has none.
    pub fn timestamp_ms(&self) -> i64 {
        self.message.timestamp().to_millis().unwrap_or(0)
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        self.message.key()
    }

    pub fn value(&self) -> Option<&'a [u8]> {
        self.message.payload()
    }

    /// The value of the last header with this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let headers = self.message.headers()?;
        (0..headers.count()).rev().map(|index| headers.get(index)).find(|header| header.key == name)?.value
    }

    /// The headers that have a value, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let headers = self.message.headers().into_iter().flat_map(|headers| headers.iter());
        headers.filter_map(|header| Some((header.key, header.value?)))
    }
}

/// A contiguous range of a partition's offsets that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRange {
    /// The first offset.
    pub first: RecordPosition,
    pub last_offset: i64,
    /// The error text, with the fix.
    pub cause: String,
}

/// Handles the records of one partition, one after the other.
pub trait Handler: Send + 'static {
    /// How long the record, and all records behind it, must wait before it is handled; None if it is due. After that
    /// time the source asks again, with the time that the record has waited so far.
    fn remaining_wait(&self, _: &Record<'_>, _: Duration) -> Option<Duration> {
        None
    }

    /// Processes the record. May wait for room downstream; the partition waits with it.
    fn handle(&mut self, record: Record<'_>, receipt: Receipt) -> impl Future<Output = ()> + Send;

    /// Dead-letters unreadable offsets, in their order. They are skipped once the receipt is settled. Never waits.
    fn dead_letter_unreadable(&mut self, offsets: &UnreadableRange, receipt: Receipt);
}

/// Handles the records of one partition that wait in their topic. Each waits in a line until the line moves.
pub trait Backlog: Send + 'static {
    /// The label of the topic in metrics.
    fn topic_label(&self) -> &str;

    /// Whether records arrive in the order of their due times, and each moves when it is due. Lines then matter only
    /// to records that move earlier.
    fn is_ordered_by_due_time(&self) -> bool;

    /// Max waiting records. At this number no more records are read.
    fn max_waiting_records(&self) -> usize;

    /// Called when a record arrives for the first time. None if nothing is to be done with it.
    fn assign_line(&mut self, record: &Record<'_>) -> Option<LineAssignment>;

    /// Which records of a line may move now.
    fn release_limits(&mut self, line: Line) -> ReleaseLimits;

    /// Reports the lines with the most waiting records, about once a second.
    fn report_lines(&mut self, lines: Vec<LineStats>);

    /// Whether each of the `waiting` records is to be checked once, because a change may end its wait.
    fn needs_review(&mut self, waiting: usize) -> bool;

    /// Processes the record as `reason` says. If it must wait longer, nothing is done: the receipt is returned, with
    /// the line in which the record waits from now on.
    fn handle(
        &mut self,
        record: Record<'_>,
        receipt: Receipt,
        reason: RereadReason,
    ) -> impl Future<Output = Result<(), (Receipt, Line)>> + Send;

    /// Dead-letters unreadable offsets in their order, or a waiting record that can't be read again. Never waits.
    fn dead_letter_unreadable(&mut self, offsets: &UnreadableRange, receipt: Receipt);
}

/// Why a waiting record is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RereadReason {
    /// Its line moves: the record is processed.
    Process,
    /// Its line does not move, and too many records wait: if the record can wait elsewhere, it moves there.
    Relocate,
    /// Its line does not move: the record settles only if nothing is left to do for it.
    Review,
}

/// Where and until when a record waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineAssignment {
    pub line: Line,
    /// Until this time the record moves only if its whole line does; milliseconds since 1970.
    pub due_ms: i64,
}

/// Which records of a line may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseLimits {
    pub max_records: usize,
    /// Only records that are due may move, or that were written between the two times below.
    pub only_due: bool,
    /// Milliseconds since 1970.
    pub written_from_ms: i64,
    /// Milliseconds since 1970, inclusive.
    pub written_by_ms: i64,
    /// The records can wait elsewhere.
    pub can_wait_elsewhere: bool,
}

/// The waiting records of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineStats {
    pub line: Line,
    pub record_count: usize,
    /// When the oldest record was written, milliseconds since 1970.
    pub oldest_written_ms: i64,
}

/// How a partition's records are read.
pub enum ReadMode<H, B> {
    /// One after the other, in order.
    Sequential(H),
    /// Each record when its line moves.
    ByLine(B),
}

/// Chooses how each assigned partition is read; None for a topic that this source does not read.
pub trait HandlerFactory: Send + Sync + 'static {
    type Handler: Handler;
    type Backlog: Backlog;

    fn for_partition(&self, topic: &str, partition: i32) -> Option<ReadMode<Self::Handler, Self::Backlog>>;
}

/// For a source whose records never wait in lines.
impl Backlog for Infallible {
    fn topic_label(&self) -> &str {
        match *self {}
    }

    fn is_ordered_by_due_time(&self) -> bool {
        match *self {}
    }

    fn max_waiting_records(&self) -> usize {
        match *self {}
    }

    fn assign_line(&mut self, _: &Record<'_>) -> Option<LineAssignment> {
        match *self {}
    }

    fn release_limits(&mut self, _: Line) -> ReleaseLimits {
        match *self {}
    }

    fn report_lines(&mut self, _: Vec<LineStats>) {
        match *self {}
    }

    fn needs_review(&mut self, _: usize) -> bool {
        match *self {}
    }

    async fn handle(&mut self, _: Record<'_>, _: Receipt, _: RereadReason) -> Result<(), (Receipt, Line)> {
        match *self {}
    }

    fn dead_letter_unreadable(&mut self, _: &UnreadableRange, _: Receipt) {
        match *self {}
    }
}

/// Registers the source's metrics with their units and descriptions.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!("outhook_records_total", Unit::Count, "Records read, by topic");
    describe_counter!(
        "outhook_records_completed_before_total",
        Unit::Count,
        "Records skipped because they had settled before a restart or a rebalance, by topic"
    );
    describe_counter!(
        "outhook_records_unreadable_total",
        Unit::Count,
        "Offsets that could not be read and were dead-lettered, by topic"
    );
    describe_counter!(
        "outhook_records_deleted_unread_total",
        Unit::Count,
        "Offsets that the topic's retention deleted before they were read, by topic"
    );
    describe_counter!("outhook_commits_total", Unit::Count, "Offset commits, by result");
    describe_counter!(
        "outhook_receipts_abandoned_total",
        Unit::Count,
        "Receipt shares dropped unsettled: their records are read again"
    );
    describe_counter!(
        "outhook_partitions_made_anew_total",
        Unit::Count,
        "Partitions read from their start because their topic had been deleted and recreated, by topic"
    );
    describe_gauge!(
        "outhook_assigned_partitions",
        Unit::Count,
        "Partitions that this instance owns, of changes and of retries"
    );
    describe_gauge!(
        "outhook_open_records",
        Unit::Count,
        "Records read and not yet part of a settled prefix, of changes and of retries"
    );
    describe_gauge!(
        "outhook_uncommitted_records",
        Unit::Count,
        "Records whose calls have settled but are not committed, of changes and of retries: a crash sends them again"
    );
    describe_gauge!(
        "outhook_calls_waiting",
        Unit::Count,
        "Waiting calls: in memory, in the overflow log, or in a retry topic, which is labelled with its delay; by \
         partition, of partitions that this instance owns, up to 10000 per partition of a retry topic"
    );
    describe_gauge!(
        "outhook_oldest_waiting_call_seconds",
        Unit::Seconds,
        "How long the oldest call that waits in a topic has waited"
    );
    describe_counter!(
        "outhook_waiting_calls_lost_total",
        Unit::Count,
        "Calls deleted by the overflow log's retention while they waited"
    );
    describe_gauge!("outhook_lag_records", Unit::Count, "Records in the partition behind the committed offset");
}
