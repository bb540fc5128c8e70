//! The limits that all lanes in row order share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::throttle::Throttle;
use super::{CALL_BYTES, WaitingTopics};

/// The limits of calls in row order, over all lanes.
pub(super) struct RowOrderLimits {
    /// The slots of throttled webhooks with row order.
    pub throttle: Arc<Throttle>,
    pub memory: MemoryLimit,
}

impl RowOrderLimits {
    pub fn new(max_calls: usize, topics: WaitingTopics<'_>) -> Self {
        Self {
            throttle: Throttle::new(topics.row_order_partitions),
            memory: MemoryLimit::new(max_calls, topics.row_order_bytes),
        }
    }
}

/// Limits the calls in row order that are in memory, over all lanes. They wait for their endpoints in memory, so they
/// may use only a part of it. Other calls continue with the rest.
pub(super) struct MemoryLimit {
    max_calls: usize,
    max_bytes: usize,
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

impl MemoryLimit {
    fn new(max_calls: usize, max_bytes: usize) -> Self {
        Self { max_calls, max_bytes, calls: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    pub fn is_reached(&self) -> bool {
        self.calls.load(Ordering::Relaxed) >= self.max_calls || self.bytes.load(Ordering::Relaxed) >= self.max_bytes
    }

    /// Counts a call whose body has this many bytes.
    pub fn entered(&self, bytes: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes + CALL_BYTES, Ordering::Relaxed);
    }

    pub fn left(&self, bytes: usize) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes + CALL_BYTES, Ordering::Relaxed);
    }
}
