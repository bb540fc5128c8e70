//! Stage 1: records come from their partitions, each with a receipt, and offsets are committed behind them.
//!
//! One task an assigned partition reads, hands the record on and opens the next; what has settled is
//! committed in the background, as a contiguous prefix only; what has settled beyond it goes with the commit as
//! metadata, so that whoever goes on there passes it over, and a record that tells whether the log is still the same. Revoked partitions drain to a deadline and commit; lost
//! ones do neither.

mod assignment;
mod backlog;
mod commits;
mod completion;
mod config;
mod consumer;
mod fetched;
mod gaps;
mod ledger;
mod lines;
mod partition;
mod probe;
mod read_state;
mod records;
mod recreated;
mod reread;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};

use crate::id::{Line, Place};
use crate::receipt::Receipt;

pub use self::config::{Config, Subscription};
pub use self::consumer::{Drained, Fatal, Left, Source, StartError, clients};
pub use self::reread::OF_MEMBERS;

/// One record, borrowed from the client's buffer.
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

    pub fn place(&self) -> Place {
        Place { topic: self.topic.clone(), partition: self.partition(), offset: self.offset() }
    }

    /// Kafka's timestamp, milliseconds since 1970; 0 when the record has none.
    pub fn timestamp_ms(&self) -> i64 {
        self.message.timestamp().to_millis().unwrap_or(0)
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        self.message.key()
    }

    pub fn value(&self) -> Option<&'a [u8]> {
        self.message.payload()
    }

    /// The value of the last header of that name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let headers = self.message.headers()?;
        (0..headers.count()).rev().map(|place| headers.get(place)).find(|header| header.key == name)?.value
    }

    /// The headers that have a value, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let headers = self.message.headers().into_iter().flat_map(|headers| headers.iter());
        headers.filter_map(|header| Some((header.key, header.value?)))
    }
}

/// Offsets of a partition, one after the other, at which nothing can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The first of them.
    pub place: Place,
    pub last: i64,
    /// What to read, with the mend.
    pub cause: String,
}

/// What is done with a partition's records, one after the other.
pub trait Handler: Send + 'static {
    /// How long the record, and all behind it, has to wait before it is handled; None when its time has come. It is
    /// asked again after that, with how long it has waited so far.
    fn wait(&self, _: &Record<'_>, _: Duration) -> Option<Duration> {
        None
    }

    /// Hands the record on. May wait for room downstream; the partition waits with it.
    fn handle(&mut self, record: Record<'_>, receipt: Receipt) -> impl Future<Output = ()> + Send;

    /// Ends what can't be read, in its turn. It is passed over once the receipt is settled. Never waits.
    fn unreadable(&mut self, offsets: &Unreadable, receipt: Receipt);
}

/// What is done with a partition's records that wait in their topic until the line that each is in moves.
pub trait Backlog: Send + 'static {
    /// What their place is called in metrics.
    fn place(&self) -> &str;

    /// Whether records come in the order of their due times, and each goes on when that has come: lines only matter to
    /// what goes before.
    fn is_timed(&self) -> bool;

    /// How many records may wait before no more are read.
    fn reads_ahead(&self) -> usize;

    /// A record has come for the first time. None if nothing is to be done with it.
    fn arrives(&mut self, record: &Record<'_>) -> Option<Spot>;

    /// How a line moves now.
    fn moves(&mut self, line: Line) -> Moves;

    /// Tells what waits now, about once a second: the lines with the most records.
    fn waiting(&mut self, lines: Vec<Waits>);

    /// Whether every record that waits, of so many, is to be looked at once: something has changed that may end its wait.
    fn wants_review(&mut self, waiting: usize) -> bool;

    /// Does with the record what its turn is for. Otherwise it goes on waiting: then the receipt comes back with nothing
    /// done, and with the line in which the record waits from now on.
    fn handle(
        &mut self,
        record: Record<'_>,
        receipt: Receipt,
        turn: Turn,
    ) -> impl Future<Output = Result<(), (Receipt, Line)>> + Send;

    /// Ends what can't be read, in its turn, or one that waited and can't be read again. Never waits.
    fn unreadable(&mut self, offsets: &Unreadable, receipt: Receipt);
}

/// What a record that waits is read again for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Its line moves: it is handed on.
    Go,
    /// Its line stands, and too many wait: if it can wait elsewhere, it goes there.
    MakeRoom,
    /// Its line stands: it only ends if nothing is to be done with it any more.
    Review,
}

/// Where and how long a record waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub line: Line,
    /// Before when it goes on only if the whole line does, milliseconds since 1970.
    pub due_ms: i64,
}

/// How many records of a line may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moves {
    pub places: usize,
    /// Only those whose time has come,
    pub only_due: bool,
    /// or that were written from then,
    pub written_from_ms: i64,
    /// by then, milliseconds since 1970.
    pub written_by_ms: i64,
    /// They can wait elsewhere.
    pub can_leave: bool,
}

/// The records of a line that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    pub line: Line,
    pub records: usize,
    /// When the oldest of them was written, milliseconds since 1970.
    pub oldest_ms: i64,
}

/// How a partition's records are read.
pub enum Reads<H, B> {
    /// One after the other.
    InTurn(H),
    /// Each when its line moves.
    InLines(B),
}

/// Says how each assigned partition is read; None for a topic that nothing here reads.
pub trait Handlers: Send + Sync + 'static {
    type Handler: Handler;
    type Backlog: Backlog;

    fn for_partition(&self, topic: &str, partition: i32) -> Option<Reads<Self::Handler, Self::Backlog>>;
}

/// For a source whose records never wait in lines.
impl Backlog for Infallible {
    fn place(&self) -> &str {
        match *self {}
    }

    fn is_timed(&self) -> bool {
        match *self {}
    }

    fn reads_ahead(&self) -> usize {
        match *self {}
    }

    fn arrives(&mut self, _: &Record<'_>) -> Option<Spot> {
        match *self {}
    }

    fn moves(&mut self, _: Line) -> Moves {
        match *self {}
    }

    fn waiting(&mut self, _: Vec<Waits>) {
        match *self {}
    }

    fn wants_review(&mut self, _: usize) -> bool {
        match *self {}
    }

    async fn handle(&mut self, _: Record<'_>, _: Receipt, _: Turn) -> Result<(), (Receipt, Line)> {
        match *self {}
    }

    fn unreadable(&mut self, _: &Unreadable, _: Receipt) {
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
        "Records passed over because they had settled before a restart or a move, by topic"
    );
    describe_counter!(
        "outhook_records_unreadable_total",
        Unit::Count,
        "Offsets at which nothing could be read, of which a dead letter tells, by topic"
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
        "Shares dropped unsettled: their records come again"
    );
    describe_counter!(
        "outhook_partitions_made_anew_total",
        Unit::Count,
        "Partitions read from their start because their topic had been deleted and made anew, by topic"
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
        "Records whose calls are done without a commit that says so yet, of changes and of retries: a crash sends them again"
    );
    describe_gauge!(
        "outhook_calls_waiting",
        Unit::Count,
        "Calls that wait: in memory, in the overflow log, or in a retry topic, whose delay is its name here; by the \
         partition, of those that this instance owns, up to 10000 of each of a retry topic's"
    );
    describe_gauge!(
        "outhook_oldest_waiting_call_seconds",
        Unit::Seconds,
        "For how long the oldest of those has waited that wait in topics"
    );
    describe_counter!(
        "outhook_waiting_calls_lost_total",
        Unit::Count,
        "Calls that waited in the overflow log until its retention deleted them"
    );
    describe_gauge!("outhook_lag_records", Unit::Count, "Records in the partition behind the committed offset");
}
