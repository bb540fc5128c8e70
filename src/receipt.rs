//! The byte budget, and the receipt of a record: its share of a ledger entry with the bytes it holds.
//!
//! A receipt is settled by value. One that is dropped unsettled settles nothing: its record's offset is
//! never committed and the record comes again; only the bytes it held return to the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How many bytes of rendered messages may be in memory, over all partitions and endpoints.
///
/// Admission is by the gate, not by reservation: whoever has passed [`Budget::room`] may charge one message
/// of any size, so the limit is exceeded by at most one message a partition. A body that calls of several URLs
/// share counts once for each, since each may be the last to hold it.
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    freed: Notify,
}

impl Budget {
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { limit: limit_bytes, used: AtomicU64::new(0), freed: Notify::new() })
    }

    /// Waits until less than the limit is in use.
    pub async fn room(&self) {
        while self.used() >= self.limit {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.used() < self.limit {
                return;
            }
            freed.await;
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether somebody who holds so many bytes has more than a fair part, where more than half of the limit is in use: a
    /// quarter of what is left. So some is left for everybody else, however many hold theirs for long.
    fn is_crowded_by(&self, bytes: u64) -> bool {
        let used = self.used();
        used > self.limit / 2 && bytes > self.limit.saturating_sub(used) / 4
    }

    fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    fn give_back(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.limit && before - bytes < self.limit {
            self.freed.notify_waiters();
        }
    }
}

/// The book in which a partition's open records stand; implemented by the source.
pub trait ReceiptTracker: Send + Sync {
    /// One more share of the entry has to be settled.
    fn add_share(&self, entry: u64);
    /// A share of the entry is settled.
    fn settle_share(&self, entry: u64);
    /// A share was dropped: the entry will never be settled.
    fn abandon_share(&self, entry: u64);
    /// The entry's only share was put back: its record goes on waiting in its topic.
    fn put_back(&self, entry: u64);
    /// Whether the partition is being drained: what can wait in its topic is to be put back.
    fn is_draining(&self) -> bool;
    /// Whether others read the partition by now, or may: whatever is open comes again there.
    fn is_given_up(&self) -> bool;
}

/// A share of one record's entry in its partition's book, with the bytes that its message holds.
#[must_use = "a receipt that is dropped leaves its record uncommitted"]
pub struct Receipt {
    book: Arc<dyn ReceiptTracker>,
    budget: Arc<Budget>,
    entry: u64,
    bytes: u64,
    settled: bool,
}

impl Receipt {
    /// The first share of an entry that its book has just opened.
    pub fn open(book: Arc<dyn ReceiptTracker>, entry: u64, budget: Arc<Budget>) -> Self {
        Self { book, budget, entry, bytes: 0, settled: false }
    }

    /// Another share of the same entry, holding `bytes` of the budget.
    pub fn share(&self, bytes: usize) -> Receipt {
        self.book.add_share(self.entry);
        self.budget.take(bytes as u64);
        Receipt {
            book: self.book.clone(),
            budget: self.budget.clone(),
            entry: self.entry,
            bytes: bytes as u64,
            settled: false,
        }
    }

    /// Whether its bytes, with so many others that wait for the same, are more than a fair part of what memory is left.
    pub fn crowds_memory(&self, others: usize) -> bool {
        self.budget.is_crowded_by(self.bytes + others as u64)
    }

    /// Whether others read its partition by now, or may.
    pub fn is_given_up(&self) -> bool {
        self.book.is_given_up()
    }

    /// Whether its partition is being drained.
    pub fn is_draining(&self) -> bool {
        self.book.is_draining()
    }

    /// The only share of its record is given back, with nothing done: the record goes on waiting in its topic, where it
    /// is found again. The bytes return to the budget.
    pub fn put_back(mut self) {
        self.settled = true;
        self.book.put_back(self.entry);
    }

    /// Nothing is left to do for this share.
    pub fn settle(mut self) {
        self.settled = true;
        self.book.settle_share(self.entry);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.bytes);
        }
        if !self.settled {
            self.book.abandon_share(self.entry);
        }
    }
}
