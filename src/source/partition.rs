//! The state of an assigned partition: its ledger, its due commit, and the room for further records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;

use super::completion::RecordFingerprint;
use super::gaps::LogStart;
use super::ledger::{Ledger, Rewound};
use crate::receipt::ReceiptTracker;
use crate::source::fetch_progress::{FetchProgress, FetchState};
use crate::source::recreation_detector;

/// The state of a partition with its ledger. It is shared between the task that opens entries, the lanes that settle
/// them, and the commits.
pub(super) struct PartitionState {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// The Kafka cluster's id, which is part of the commit metadata.
    cluster: Arc<str>,
    ledger: Mutex<Ledger>,
    /// Notified when the prefix grew, or another condition of a waiter may have changed.
    state_changed: Notify,
    /// The last commit that Kafka has acknowledged.
    committed: Mutex<Option<Commit>>,
    limits: ReadAheadLimits,
    /// Notified when the next commit must not wait for its interval.
    commit_now: Arc<Notify>,
    draining: AtomicBool,
    revoked: AtomicBool,
    fetch_progress: Mutex<FetchProgress>,
}

/// How far a partition may be read ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadAheadLimits {
    /// Max records read and not yet part of the settled prefix.
    pub(super) max_open_records: usize,
    /// Max settled-but-uncommitted records with calls.
    pub(super) max_uncommitted: u64,
}

impl ReadAheadLimits {
    fn allows_read(self, ledger: &Ledger) -> bool {
        ledger.len() < self.max_open_records && ledger.uncommitted() < self.max_uncommitted
    }
}

/// A commit of one partition.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    /// The offset of the next record to read.
    pub(super) offset: i64,
    /// The commit metadata.
    pub(super) metadata: String,
    /// The ledger's change count at which the commit was made.
    change_count: u64,
    /// How many records with calls had settled by then.
    settled_with_calls: u64,
}

impl Commit {
    fn has_same_content(&self, other: &Commit) -> bool {
        (self.offset, &self.metadata) == (other.offset, &other.metadata)
    }
}

impl PartitionState {
    pub(super) fn new(
        topic: Arc<str>,
        partition: i32,
        cluster: Arc<str>,
        ledger: Ledger,
        limits: ReadAheadLimits,
        commit_now: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            topic,
            partition,
            cluster,
            ledger: Mutex::new(ledger),
            state_changed: Notify::new(),
            committed: Mutex::default(),
            limits,
            commit_now,
            draining: AtomicBool::new(false),
            revoked: AtomicBool::new(false),
            fetch_progress: Mutex::default(),
        })
    }

    /// Updates the fetch state from the client's statistics.
    pub(super) fn update_fetch_state(&self, state: FetchState) {
        self.fetch_progress.lock().update(state);
    }

    /// Resets the fetch state, because reading continues at another offset.
    pub(super) fn reset_fetch_progress(&self) {
        self.fetch_progress.lock().reset();
    }

    /// Where the log begins, by the client's last statistics.
    pub(super) fn log_start(&self) -> LogStart {
        self.fetch_progress.lock().log_start()
    }

    /// Skips offsets without a record behind the last record, such as transaction markers. Otherwise the group's lag
    /// would show records left to read. Called when all fetched records are handled. Returns the offset behind them.
    pub(super) fn skip_fetched_gap(&self) -> Option<i64> {
        let offset = self.fetch_progress.lock().take_passed_offset()?;
        self.with(|ledger| ledger.skip_to(offset));
        Some(offset)
    }

    /// Marks the partition as draining: no further record is read, and open records are awaited.
    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Marks the partition as revoked: another instance reads it from now on, or may.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.state_changed.notify_waiters();
    }

    /// The due commit; None if Kafka has already acknowledged it.
    pub(super) fn due(&self) -> Option<Commit> {
        let mut committed = self.committed.lock();
        let due = self.with(|ledger| {
            let (offset, changes, done) = (ledger.safe_offset()?, ledger.change_count(), ledger.settled_with_calls());
            // Most partitions have not changed, most of the time, and a completion map costs a scan of every open
            // record.
            if committed.as_ref().is_some_and(|committed| committed.change_count == changes) {
                return None;
            }
            Some(Commit {
                offset,
                metadata: ledger.commit_metadata(&self.cluster),
                change_count: changes,
                settled_with_calls: done,
            })
        })?;
        if committed.as_ref().is_some_and(|committed| committed.has_same_content(&due)) {
            // The commit would change nothing: records that have settled since were in the map that this ledger began
            // with, or do not fit in a map.
            self.acknowledge(due.settled_with_calls);
            *committed = Some(due);
            return None;
        }
        Some(due)
    }

    /// Marks a commit as acknowledged by Kafka.
    pub(super) fn mark_committed(&self, commit: Commit) {
        self.acknowledge(commit.settled_with_calls);
        *self.committed.lock() = Some(commit);
    }

    fn acknowledge(&self, done: u64) {
        self.with(|ledger| ledger.mark_committed(done));
        self.state_changed.notify_waiters();
    }

    /// The offset that may be committed; None until a record has been read.
    pub(super) fn safe_offset(&self) -> Option<i64> {
        self.with(|ledger| ledger.safe_offset())
    }

    /// Number of records read and not yet part of the settled prefix.
    pub(super) fn open_records(&self) -> usize {
        self.with(|ledger| ledger.len())
    }

    /// Number of records read but not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.with(|ledger| ledger.unsettled())
    }

    /// Number of settled-but-uncommitted records with calls.
    pub(super) fn uncommitted(&self) -> u64 {
        self.with(|ledger| ledger.uncommitted())
    }

    /// Whether a record is under way that may still settle.
    pub(super) fn is_under_way(&self) -> bool {
        self.with(|ledger| ledger.has_open_shares())
    }

    /// Waits until no record is under way.
    async fn wait_until_idle(&self) {
        self.wait_until(|ledger| !ledger.has_open_shares()).await;
    }

    /// The same, but returns early if another instance reads the partition: it reads the open records again.
    pub(super) async fn wait_until_drained(&self) {
        self.wait_until(|ledger| !ledger.has_open_shares() || self.is_revoked()).await;
    }

    /// Waits until one more record may be read.
    pub(super) async fn wait_for_capacity(&self) {
        self.wait_until(|ledger| self.limits.allows_read(ledger)).await;
    }

    /// Whether one more record may be read.
    pub(super) fn has_capacity(&self) -> bool {
        self.with(|ledger| self.limits.allows_read(ledger))
    }

    /// Whether one more record may settle before the next commit.
    pub(super) fn may_settle_more(&self) -> bool {
        self.with(|ledger| ledger.uncommitted() < self.limits.max_uncommitted)
    }

    /// Max records read and not yet part of the settled prefix.
    pub(super) fn max_open_records(&self) -> usize {
        self.limits.max_open_records
    }

    /// Reopens the entry of a record that was put back.
    pub(super) fn unpark(&self, entry: u64) {
        self.with(|ledger| ledger.unpark(entry));
    }

    async fn wait_until(&self, holds: impl Fn(&Ledger) -> bool) {
        if self.with(|ledger| holds(ledger)) {
            return;
        }
        loop {
            let moved = self.state_changed.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.with(|ledger| holds(ledger)) {
                return;
            }
            moved.await;
        }
    }

    /// Opens the record's entry; None if the record had settled before this assignment. If the log went back (the
    /// topic was recreated or truncated), waits until no record is under way and restarts the ledger.
    pub(super) async fn open(&self, record: RecordFingerprint) -> Option<u64> {
        match self.with(|ledger| ledger.open(record)) {
            Ok(entry) => entry,
            Err(Rewound) => {
                let (topic, partition, offset) = (&self.topic, self.partition, record.offset);
                warn!(%topic, partition, offset, "the partition's offsets went back: was the topic recreated?");
                recreation_detector::count(topic);
                self.reset_fetch_progress();
                self.wait_until_idle().await;
                Some(self.with(|ledger| ledger.restart_at(record)))
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.ledger.lock())
    }
}

impl ReceiptTracker for PartitionState {
    fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn put_back(&self, entry: u64) {
        if self.with(|ledger| ledger.park(entry)) {
            self.state_changed.notify_waiters();
        }
    }

    fn add_share(&self, entry: u64) {
        self.with(|ledger| ledger.add_share(entry));
    }

    fn settle_share(&self, entry: u64) {
        let (closed, uncommitted) = self.with(|ledger| (ledger.settle_share(entry), ledger.uncommitted()));
        if closed {
            self.state_changed.notify_waiters();
            // At half of the limit, so reading does not wait while Kafka acknowledges commits at its usual speed.
            if uncommitted > self.limits.max_uncommitted / 2 && !self.is_revoked() {
                self.commit_now.notify_one();
            }
        }
    }

    fn abandon_share(&self, entry: u64) {
        metrics::counter!("outhook_receipts_abandoned_total").increment(1);
        if self.with(|ledger| ledger.abandon_share(entry)) {
            self.state_changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More runs of settled records than fit in one map.
    const RUNS: i64 = 3000;

    #[test]
    fn full_map_does_not_block_the_partition() {
        let limits = ReadAheadLimits { max_open_records: 100_000, max_uncommitted: 10 };
        let book =
            PartitionState::new("changes".into(), 0, "cluster".into(), Ledger::default(), limits, Arc::default());
        let open =
            |offset| book.with(|ledger| ledger.open(RecordFingerprint { offset, timestamp: 0 })).unwrap().unwrap();
        let entries: Vec<u64> = (0..2 * RUNS).map(open).collect();
        let settle = |entry| {
            book.add_share(entry);
            book.settle_share(entry);
            book.settle_share(entry);
        };
        entries.iter().skip(1).step_by(2).take(RUNS as usize - 1).for_each(|entry| settle(*entry));
        assert_eq!(book.uncommitted(), RUNS as u64 - 1);
        let full = book.due().unwrap();
        book.mark_committed(full);
        assert_eq!(book.uncommitted(), 0);
        settle(*entries.last().unwrap());
        assert_eq!(book.uncommitted(), 1);
        assert!(book.due().is_none(), "the map would say the same");
        assert_eq!(book.uncommitted(), 0);
    }
}
