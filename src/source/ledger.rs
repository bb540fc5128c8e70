//! The ledger of a partition: tracks which open records have settled, and up to which offset may be committed.

use std::collections::VecDeque;
use std::iter;
use std::ops::Range;

use super::completion::{CommitMetadata, CompletionMap, RecordFingerprint};

/// The error for a record whose offset is not greater than the one read before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewound;

/// The open records of one partition, in the order of their offsets.
///
/// A record is entered when it is read. It leaves when it and all records before it have settled. So the offset to
/// commit grows only by a contiguous prefix. Offsets may have gaps (compaction, transaction markers).
#[derive(Debug, Default)]
pub struct Ledger {
    entries: VecDeque<LedgerEntry>,
    /// The number of the first entry in the ledger. Entries are numbered from 0 in reading order.
    first_entry: u64,
    /// The offset after the last record of the settled prefix, initially that of the first record; None until a
    /// record has been read.
    safe_offset: Option<i64>,
    /// Number of entries with an open share.
    open_entries: usize,
    /// Number of entries that have not settled, including abandoned ones.
    unsettled: usize,
    /// No record before this offset is left to read.
    skipped_to: i64,
    /// The log went back and the ledger has not restarted: its offsets are of a log that is gone.
    rewound: bool,
    /// The last known record of this log before the safe offset.
    last_record: Option<RecordFingerprint>,
    /// The records still to be read that had settled before this ledger began.
    previous_completion: Option<CompletionMap>,
    /// The latest timestamp of all records read.
    newest_timestamp: i64,
    /// Grows whenever the due commit may have changed.
    change_count: u64,
    /// Number of settled records with calls, of all that were ever in the ledger.
    settled_with_calls: u64,
    /// How many of these are committed, or did not fit in the completion map of the last commit.
    committed_with_calls: u64,
}

#[derive(Debug)]
struct LedgerEntry {
    fingerprint: RecordFingerprint,
    /// Shares not settled yet.
    open_shares: u32,
    /// It has had more than its first share: calls were made of it, and would be made again.
    has_calls: bool,
    /// A share was dropped unsettled: the entry permanently keeps the prefix from growing.
    abandoned: bool,
    /// The record waits in its topic, and nothing is under way for it. See [`Ledger::park`].
    parked: bool,
}

impl LedgerEntry {
    fn has_settled(&self) -> bool {
        self.open_shares == 0 && !self.abandoned && !self.parked
    }
}

impl Ledger {
    /// Creates a ledger that continues after the partition's last commit, from its metadata. The completion map is
    /// dropped unless the first record is the one that held the commit back: otherwise the map was made for another
    /// log or another offset.
    pub fn resume_from(note: Option<CommitMetadata>) -> Self {
        let Some(CommitMetadata { log_record: log, completion_map: completion }) = note else { return Self::default() };
        Self { last_record: Some(log), previous_completion: completion, ..Self::default() }
    }

    /// Enters the next record with one open share and returns its entry's number; None if the record had settled
    /// before this ledger began and must be skipped.
    ///
    /// # Errors
    /// The offset is not greater than the one before it: the partition's log was truncated or recreated. From then on
    /// no offset is safe until [`Ledger::restart_at`].
    pub fn open(&mut self, record: RecordFingerprint) -> Result<Option<u64>, Rewound> {
        let after_last = match self.entries.back() {
            Some(last) => record.offset > last.fingerprint.offset,
            None => self.safe_offset.is_none_or(|safe| record.offset >= safe),
        };
        if !after_last || self.rewound {
            self.rewound = true;
            self.safe_offset = None;
            return Err(Rewound);
        }
        if self.safe_offset.is_none() {
            self.start_at(record);
        }
        if self.previous_completion.as_mut().is_some_and(|before| before.take_settled(record)) {
            self.push_settled(record);
            return Ok(None);
        }
        Ok(Some(self.push(record)))
    }

    /// Passes offsets without a record up to this offset. It is safe once all records read have settled.
    pub fn skip_to(&mut self, offset: i64) {
        if self.rewound || offset <= self.skipped_to {
            return;
        }
        self.skipped_to = offset;
        if self.safe_offset.is_none() {
            // The record that held the commit back no longer exists.
            self.previous_completion = None;
            self.safe_offset = Some(offset);
        }
        self.change_count += 1;
        self.advance();
    }

    /// Forgets everything and enters a record at any offset. The offset is immediately safe to commit, because the
    /// group's offset is of the log that is gone. Entry numbers keep growing: an old receipt can't settle a new
    /// entry.
    ///
    /// # Panics
    /// A record is still under way.
    pub fn restart_at(&mut self, record: RecordFingerprint) -> u64 {
        assert_eq!(self.open_entries, 0, "a ledger restarts only when nothing is under way");
        self.first_entry += self.entries.len() as u64;
        self.entries.clear();
        self.unsettled = 0;
        self.committed_with_calls = self.settled_with_calls;
        self.rewound = false;
        self.last_record = None;
        self.previous_completion = None;
        self.newest_timestamp = 0;
        self.skipped_to = 0;
        self.start_at(record);
        self.push(record)
    }

    /// Begins with the first record. Records before it are gone or were committed by others, so its offset is safe.
    fn start_at(&mut self, record: RecordFingerprint) {
        self.safe_offset = Some(record.offset);
        // A last record that is not before the first one is of another log, or the group's offset was set back.
        self.last_record = self.last_record.filter(|last| last.offset < record.offset);
        self.previous_completion = self.previous_completion.take().filter(|before| before.starts_at(record));
        self.change_count += 1;
    }

    fn push(&mut self, fingerprint: RecordFingerprint) -> u64 {
        self.newest_timestamp = self.newest_timestamp.max(fingerprint.timestamp);
        self.entries.push_back(LedgerEntry {
            fingerprint,
            open_shares: 1,
            has_calls: false,
            abandoned: false,
            parked: false,
        });
        self.open_entries += 1;
        self.unsettled += 1;
        self.first_entry + self.entries.len() as u64 - 1
    }

    fn push_settled(&mut self, fingerprint: RecordFingerprint) {
        self.entries.push_back(LedgerEntry {
            fingerprint,
            open_shares: 0,
            has_calls: false,
            abandoned: false,
            parked: false,
        });
        self.change_count += 1;
        self.advance();
    }

    /// Adds an open share to an entry that already has one.
    pub fn add_share(&mut self, entry: u64) {
        let entry = self.entry(entry);
        entry.open_shares += 1;
        entry.has_calls = true;
    }

    /// Settles one share. Returns true if it was the entry's last share.
    pub fn settle_share(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        entry.open_shares -= 1;
        let (closed, settled, has_calls) = (entry.open_shares == 0, entry.has_settled(), entry.has_calls);
        self.open_entries -= usize::from(closed);
        if settled {
            self.unsettled -= 1;
            self.settled_with_calls += u64::from(has_calls);
            self.change_count += 1;
            self.advance();
        }
        closed
    }

    /// Ends an entry's last share without settling it, because its record keeps waiting in its topic. The entry holds
    /// the prefix back but is not under way: a stop does not wait for it. Returns true, as the entry has no share
    /// left.
    ///
    /// # Panics
    /// Another share of it is open.
    pub fn park(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        assert_eq!(entry.open_shares, 1, "only a record without other open shares can be parked");
        (entry.open_shares, entry.parked) = (0, true);
        self.open_entries -= 1;
        self.unsettled -= 1;
        true
    }

    /// Opens the share of a parked entry again, because its record is processed.
    ///
    /// # Panics
    /// The entry is not parked.
    pub fn unpark(&mut self, entry: u64) {
        let entry = self.entry(entry);
        assert!(std::mem::take(&mut entry.parked), "only a parked entry can be unparked");
        entry.open_shares = 1;
        self.open_entries += 1;
        self.unsettled += 1;
    }

    /// Ends one share without settling it: the entry will never settle. Returns true if it was the entry's last
    /// share.
    pub fn abandon_share(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        entry.open_shares -= 1;
        entry.abandoned = true;
        let closed = entry.open_shares == 0;
        self.open_entries -= usize::from(closed);
        closed
    }

    /// The offset that may be committed, which is the next one to read after a restart. None until a record has been
    /// read.
    pub fn safe_offset(&self) -> Option<i64> {
        self.safe_offset
    }

    /// The metadata to commit with the safe offset: a record of the log, and the completion map. Scans every record
    /// in the ledger. Empty until a record has been read.
    pub fn commit_metadata(&self, cluster: &str) -> String {
        let head = self.entries.front().map(|entry| entry.fingerprint);
        let Some(log) = self.last_record.or(head) else { return String::new() };
        let newest = self
            .previous_completion
            .as_ref()
            .map_or(self.newest_timestamp, |before| before.newest().max(self.newest_timestamp));
        // A map can be used only with the record that held the prefix back.
        let unread = self.previous_completion.iter().filter(|_| head.is_some()).flat_map(CompletionMap::remaining);
        CommitMetadata::encode(cluster, log, head.unwrap_or(log), newest, self.settled_ranges().chain(unread))
    }

    /// Runs of settled records. Offsets between two neighbouring records of a run have no record that is ever read.
    fn settled_ranges(&self) -> impl Iterator<Item = Range<i64>> {
        let mut entries = self.entries.iter();
        iter::from_fn(move || {
            let first = entries.find(|entry| entry.has_settled())?;
            let last = entries.by_ref().take_while(|entry| entry.has_settled()).last().unwrap_or(first);
            Some(first.fingerprint.offset..last.fingerprint.offset + 1)
        })
    }

    /// Grows whenever the safe offset or its metadata may have changed.
    pub fn change_count(&self) -> u64 {
        self.change_count
    }

    /// Number of settled records with calls, of all that were ever in the ledger.
    pub fn settled_with_calls(&self) -> u64 {
        self.settled_with_calls
    }

    /// Marks the first `done` of them as committed.
    pub fn mark_committed(&mut self, done: u64) {
        self.committed_with_calls = self.committed_with_calls.max(done);
    }

    /// Number of settled-but-uncommitted records with calls: after a crash they are sent again.
    pub fn uncommitted(&self) -> u64 {
        self.settled_with_calls - self.committed_with_calls
    }

    /// Number of records in the ledger: read, and not yet part of the settled prefix.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of records in the ledger that have not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Whether a record has an open share, and so may still settle.
    pub fn has_open_shares(&self) -> bool {
        self.open_entries > 0
    }

    fn advance(&mut self) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.has_settled()) {
            if !self.rewound {
                self.safe_offset = Some(entry.fingerprint.offset + 1);
                self.last_record = Some(entry.fingerprint);
            }
            self.entries.pop_front();
            self.first_entry += 1;
        }
        if self.entries.is_empty() && !self.rewound {
            self.safe_offset = self.safe_offset.map(|safe| safe.max(self.skipped_to));
        }
    }

    fn entry(&mut self, number: u64) -> &mut LedgerEntry {
        let index = number.checked_sub(self.first_entry).expect("an open share's entry is still in the ledger");
        self.entries.get_mut(index as usize).expect("an entry's number comes from open()")
    }
}

#[cfg(test)]
mod tests;
