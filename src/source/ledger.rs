//! The in-order book of a partition's open records: what has settled, and so up to where may be committed.

use std::collections::VecDeque;
use std::iter;
use std::ops::Range;

use super::completion::{CommitMetadata, Completion, Mark};

/// A record's offset is not greater than the one read before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewound;

/// The open records of one partition, in the order of their offsets.
///
/// A record is entered when it is read and leaves when it and all before it have settled, so the offset to
/// commit only ever grows by a contiguous prefix. Offsets may have gaps (compaction, transaction markers).
#[derive(Debug, Default)]
pub struct Ledger {
    entries: VecDeque<LedgerEntry>,
    /// The number of the first entry still in the book; entries are numbered from 0 in reading order.
    first: u64,
    /// The offset after the last record of the settled prefix, at first that of the first record; None until one was
    /// read.
    safe: Option<i64>,
    /// Entries with an open share.
    under_way: usize,
    /// Entries that have not settled, those that never will included.
    unsettled: usize,
    /// No record before this offset is left to read.
    passed: i64,
    /// The log went back, and the book has not begun anew: its offsets are of a log that is gone.
    rewound: bool,
    /// A record of this log before the safe offset, the last one as far as this book knows.
    last: Option<Mark>,
    /// What had settled before this book began, of the records that are still to be read.
    before: Option<Completion>,
    /// The latest timestamp of a record that was read.
    newest: i64,
    /// Grows whenever there may be something new to commit.
    changes: u64,
    /// Records with calls that have settled, of all that were ever in the book.
    done: u64,
    /// How many of these a commit has told of, as far as its map had room.
    acknowledged: u64,
}

#[derive(Debug)]
struct LedgerEntry {
    mark: Mark,
    /// Shares not settled yet.
    open: u32,
    /// It has had more than its first share: something was made of it, and would be again.
    has_calls: bool,
    /// A share was dropped unsettled: the entry keeps the prefix from growing for good.
    abandoned: bool,
    /// Nothing is done with the record at present: it waits in its topic. See [`Ledger::park`].
    parked: bool,
}

impl LedgerEntry {
    fn has_settled(&self) -> bool {
        self.open == 0 && !self.abandoned && !self.parked
    }
}

impl Ledger {
    /// A book that goes on where another ended, with what the partition's last commit tells of the log. What that says of
    /// the records behind its offset is forgotten unless the first record is the one that held the commit back: then this
    /// log, or this offset, is not the one that the map was made for.
    pub fn after(note: Option<CommitMetadata>) -> Self {
        let Some(CommitMetadata { log, completion }) = note else { return Self::default() };
        Self { last: Some(log), before: completion, ..Self::default() }
    }

    /// Enters the next record with one open share and returns its entry's number; None for a record that had settled
    /// before this book began, with which nothing is to be done.
    ///
    /// # Errors
    /// The offset is not greater than the one before it: the partition's log was cut or made anew. From then on
    /// no offset is safe until [`Ledger::restart_at`].
    pub fn open(&mut self, record: Mark) -> Result<Option<u64>, Rewound> {
        let after_last = match self.entries.back() {
            Some(last) => record.offset > last.mark.offset,
            None => self.safe.is_none_or(|safe| record.offset >= safe),
        };
        if !after_last || self.rewound {
            self.rewound = true;
            self.safe = None;
            return Err(Rewound);
        }
        if self.safe.is_none() {
            self.begin_with(record);
        }
        if self.before.as_mut().is_some_and(|before| before.has(record)) {
            self.enter_settled(record);
            return Ok(None);
        }
        Ok(Some(self.push(record)))
    }

    /// No record before this offset is left to read: it is safe once all that were read have settled.
    pub fn pass(&mut self, offset: i64) {
        if self.rewound || offset <= self.passed {
            return;
        }
        self.passed = offset;
        if self.safe.is_none() {
            // The record that held the commit back is not there any more.
            self.before = None;
            self.safe = Some(offset);
        }
        self.changes += 1;
        self.advance();
    }

    /// Forgets everything and enters a record at any offset, which is safe to commit at once: the group's own
    /// offset is of the log that is gone. Entry numbers go on growing, so that a receipt
    /// of before can't be taken for one of after.
    ///
    /// # Panics
    /// Something is still under way.
    pub fn restart_at(&mut self, record: Mark) -> u64 {
        assert_eq!(self.under_way, 0, "a ledger restarts only when nothing is under way");
        self.first += self.entries.len() as u64;
        self.entries.clear();
        self.unsettled = 0;
        self.acknowledged = self.done;
        self.rewound = false;
        self.last = None;
        self.before = None;
        self.newest = 0;
        self.passed = 0;
        self.begin_with(record);
        self.push(record)
    }

    /// What comes before the first record is gone or was committed by others, so its own offset is safe.
    fn begin_with(&mut self, record: Mark) {
        self.safe = Some(record.offset);
        // One that is not before it is of another log, or the group was set back.
        self.last = self.last.filter(|last| last.offset < record.offset);
        self.before = self.before.take().filter(|before| before.begins_with(record));
        self.changes += 1;
    }

    fn push(&mut self, mark: Mark) -> u64 {
        self.newest = self.newest.max(mark.timestamp);
        self.entries.push_back(LedgerEntry { mark, open: 1, has_calls: false, abandoned: false, parked: false });
        self.under_way += 1;
        self.unsettled += 1;
        self.first + self.entries.len() as u64 - 1
    }

    fn enter_settled(&mut self, mark: Mark) {
        self.entries.push_back(LedgerEntry { mark, open: 0, has_calls: false, abandoned: false, parked: false });
        self.changes += 1;
        self.advance();
    }

    /// Adds an open share to an entry that has one already.
    pub fn add_share(&mut self, entry: u64) {
        let entry = self.entry(entry);
        entry.open += 1;
        entry.has_calls = true;
    }

    /// Settles one share. Returns true if it was the entry's last one.
    pub fn settle_share(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        entry.open -= 1;
        let (closed, settled, has_calls) = (entry.open == 0, entry.has_settled(), entry.has_calls);
        self.under_way -= usize::from(closed);
        if settled {
            self.unsettled -= 1;
            self.done += u64::from(has_calls);
            self.changes += 1;
            self.advance();
        }
        closed
    }

    /// Ends an entry's last share without settling it, because its record goes on waiting in its topic. The entry holds
    /// the prefix, but is not under way: a stop does not wait for it. Returns true, as the entry has no share left.
    ///
    /// # Panics
    /// Another share of it is open.
    pub fn park(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        assert_eq!(entry.open, 1, "a record waits only when nothing was made of it");
        (entry.open, entry.parked) = (0, true);
        self.under_way -= 1;
        self.unsettled -= 1;
        true
    }

    /// Gives a parked entry its share back: something is to be done with its record.
    ///
    /// # Panics
    /// It is not parked.
    pub fn unpark(&mut self, entry: u64) {
        let entry = self.entry(entry);
        assert!(std::mem::take(&mut entry.parked), "only a parked entry is taken up again");
        entry.open = 1;
        self.under_way += 1;
        self.unsettled += 1;
    }

    /// Ends one share without settling it: the entry never will. Returns true if it was the entry's last one.
    pub fn abandon_share(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        entry.open -= 1;
        entry.abandoned = true;
        let closed = entry.open == 0;
        self.under_way -= usize::from(closed);
        closed
    }

    /// The offset that may be committed: that of the next record to read after a restart. None until a record was read.
    pub fn safe_offset(&self) -> Option<i64> {
        self.safe
    }

    /// What to commit with the safe offset as its metadata: a record of the log, and what has settled beyond the offset.
    /// Looks at every record in the book. Empty text as long as none was read.
    pub fn note(&self, cluster: &str) -> String {
        let head = self.entries.front().map(|entry| entry.mark);
        let Some(log) = self.last.or(head) else { return String::new() };
        let newest = self.before.as_ref().map_or(self.newest, |before| before.newest().max(self.newest));
        // Whoever reads a map has to find the record that held the prefix back.
        let unread = self.before.iter().filter(|_| head.is_some()).flat_map(Completion::remaining);
        CommitMetadata::encode(cluster, log, head.unwrap_or(log), newest, self.settled_behind_head().chain(unread))
    }

    /// Runs of settled records. Between two of them that follow each other no offset has a record that is ever read.
    fn settled_behind_head(&self) -> impl Iterator<Item = Range<i64>> {
        let mut entries = self.entries.iter();
        iter::from_fn(move || {
            let first = entries.find(|entry| entry.has_settled())?;
            let last = entries.by_ref().take_while(|entry| entry.has_settled()).last().unwrap_or(first);
            Some(first.mark.offset..last.mark.offset + 1)
        })
    }

    /// Grows whenever the safe offset or what is told with it may have changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Records with calls that have settled, of all that were ever in the book.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// A commit has told of so many of them.
    pub fn acknowledge(&mut self, done: u64) {
        self.acknowledged = self.acknowledged.max(done);
    }

    /// Records with calls that have settled, of which no commit has told: after a crash they come again.
    pub fn uncommitted(&self) -> u64 {
        self.done - self.acknowledged
    }

    /// Records in the book: read, and not yet part of the settled prefix.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Records in the book that have not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Whether some record still has an open share: something is under way that may settle.
    pub fn is_under_way(&self) -> bool {
        self.under_way > 0
    }

    fn advance(&mut self) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.has_settled()) {
            if !self.rewound {
                self.safe = Some(entry.mark.offset + 1);
                self.last = Some(entry.mark);
            }
            self.entries.pop_front();
            self.first += 1;
        }
        if self.entries.is_empty() && !self.rewound {
            self.safe = self.safe.map(|safe| safe.max(self.passed));
        }
    }

    fn entry(&mut self, number: u64) -> &mut LedgerEntry {
        let index = number.checked_sub(self.first).expect("an open share's entry is still in the book");
        self.entries.get_mut(index as usize).expect("an entry's number comes from open()")
    }
}

#[cfg(test)]
mod tests;
