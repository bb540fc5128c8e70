//! The byte budget, and the receipt of a record: a share of its ledger entry with the bytes that the share holds.
//!
//! A receipt is settled by value. A receipt that is dropped unsettled settles nothing: its record's offset is never
//! committed, and the record is read again. Only the bytes that it held return to the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Budget of the bytes of rendered messages in memory, over all partitions and endpoints.
///
/// It is a gate, not a reservation: a task that has passed [`Budget::wait_for_capacity`] may charge one message of any
/// size. So the limit is exceeded by at most one message per partition. A body that calls of several URLs share counts
/// once for each call, because each may be the last to hold it.
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    bytes_freed: Notify,
}

impl Budget {
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { limit: limit_bytes, used: AtomicU64::new(0), bytes_freed: Notify::new() })
    }

    /// Waits until less than the limit is in use.
    pub async fn wait_for_capacity(&self) {
        while self.used() >= self.limit {
            let freed = self.bytes_freed.notified();
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

    /// Whether a holder of `bytes` has more than its fair part: a quarter of the unused budget, while more than half
    /// of the limit is in use. So some budget remains for all others, even if many holders keep their bytes for long.
    fn exceeds_fair_share(&self, bytes: u64) -> bool {
        let used = self.used();
        used > self.limit / 2 && bytes > self.limit.saturating_sub(used) / 4
    }

    fn charge(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    fn release(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.limit && before - bytes < self.limit {
            self.bytes_freed.notify_waiters();
        }
    }
}

/// Tracker of the open records of a partition. The source implements it with its ledger.
pub trait ReceiptTracker: Send + Sync {
    /// Adds a share that must be settled to the entry.
    fn add_share(&self, entry: u64);
    /// Settles a share of the entry.
    fn settle_share(&self, entry: u64);
    /// Abandons a dropped share: the entry will never be settled.
    fn abandon_share(&self, entry: u64);
    /// Puts the entry's only share back: its record continues to wait in its topic.
    fn put_back(&self, entry: u64);
    /// Whether the partition is being drained: calls that can wait in their topic should be put back.
    fn is_draining(&self) -> bool;
    /// Whether another instance reads the partition now, or may read it. Open records are read again there.
    fn is_revoked(&self) -> bool;
}

/// A share of one record's entry in the ledger of its partition, with the bytes that its message holds.
#[must_use = "a receipt that is dropped leaves its record uncommitted"]
pub struct Receipt {
    tracker: Arc<dyn ReceiptTracker>,
    budget: Arc<Budget>,
    entry: u64,
    bytes: u64,
    settled: bool,
}

impl Receipt {
    /// The first share of an entry that the tracker has just opened.
    pub fn open(tracker: Arc<dyn ReceiptTracker>, entry: u64, budget: Arc<Budget>) -> Self {
        Self { tracker, budget, entry, bytes: 0, settled: false }
    }

    /// Adds a share to the same entry and charges `bytes` to the budget.
    pub fn share(&self, bytes: usize) -> Receipt {
        self.tracker.add_share(self.entry);
        self.budget.charge(bytes as u64);
        Receipt {
            tracker: self.tracker.clone(),
            budget: self.budget.clone(),
            entry: self.entry,
            bytes: bytes as u64,
            settled: false,
        }
    }

    /// Whether its bytes, plus `others` that wait for the same, are more than a fair part of the remaining memory.
    pub fn exceeds_fair_share(&self, others: usize) -> bool {
        self.budget.exceeds_fair_share(self.bytes + others as u64)
    }

    /// Whether another instance reads its partition now, or may read it.
    pub fn is_revoked(&self) -> bool {
        self.tracker.is_revoked()
    }

    /// Whether its partition is being drained.
    pub fn is_draining(&self) -> bool {
        self.tracker.is_draining()
    }

    /// Returns the only share of its record without a result: the record continues to wait in its topic and is read
    /// again later. The bytes return to the budget.
    pub fn put_back(mut self) {
        self.settled = true;
        self.tracker.put_back(self.entry);
    }

    /// Settles this share: nothing remains to be done for it.
    pub fn settle(mut self) {
        self.settled = true;
        self.tracker.settle_share(self.entry);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.release(self.bytes);
        }
        if !self.settled {
            self.tracker.abandon_share(self.entry);
        }
    }
}
