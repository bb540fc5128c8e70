//! CallThrottling: limits a webhook's calls per second over the whole group, without communication between instances.
//!
//! Time is divided into slots, as many a second as calls are allowed. Every slot belongs to one partition of the
//! overflow log. A call may go out only in a slot of a partition that this instance owns, one call in each slot. The
//! group assigns each partition to one instance at a time, so no two instances use the same slot. Calls that find no
//! slot in time are deferred to the overflow log. It spreads the calls of such a webhook over all partitions, so each
//! instance has the same share of the calls as of the slots.
//!
//! Calls in row order are sent by the instance that reads them. So their slots belong to the partitions of the
//! row-order topic, and the calls wait for slots in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};

use self::slots::{SECOND, Slot, Slots};
use crate::id::WebhookId;

mod slots;

/// Assigns slots to calls. Times are since 1970, by a clock that instances share.
#[derive(Debug)]
pub(super) struct Throttle {
    /// By partition: since when this instance owns it.
    owned: Mutex<Vec<Option<Duration>>>,
    /// The number of owned partitions that have no slots.
    uncounted: AtomicUsize,
    webhooks: DashMap<WebhookId, Used>,
}

/// The used slots of a webhook.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// The end of the last slot in which a call went out.
    until: Duration,
}

/// When a call may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendTime {
    Now,
    /// Not before this time has passed.
    In(Duration),
    /// This instance has no slots.
    Never,
}

/// Ownership of one partition's slots. Dropping it ends the ownership.
#[derive(Debug)]
pub struct SlotLease {
    throttle: Arc<Throttle>,
    partition: usize,
}

impl Throttle {
    /// For a topic with this number of partitions.
    pub fn new(partitions: usize) -> Arc<Self> {
        let owned = Mutex::new(vec![None; partitions.max(1)]);
        Arc::new(Self { owned, uncounted: AtomicUsize::new(0), webhooks: DashMap::new() })
    }

    /// This instance owns a partition from `now` on. A partition above the number given to [`Throttle::new`] has no
    /// slots.
    pub fn own(self: &Arc<Self>, partition: i32, now: Duration) -> SlotLease {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        match self.owned().get_mut(partition) {
            Some(since) => *since = Some(now),
            None => drop(self.uncounted.fetch_add(1, Ordering::Relaxed)),
        }
        SlotLease { throttle: self.clone(), partition }
    }

    /// Takes the slot of `now` for a call of a webhook with this limit, or returns when the next slot starts.
    pub fn take(&self, webhook: WebhookId, calls_a_second: u32, now: Duration) -> SendTime {
        let owned = self.owned();
        let slots = Slots::new(calls_a_second, &owned);
        let mut used = self.webhooks.entry(webhook).or_default();
        // A used slot ends no later than that, unless the clock was set back.
        let free = if used.until > now + SECOND { Duration::ZERO } else { used.until };
        match slots.next(free, now) {
            Some(Slot { starts, ends }) if starts <= now => {
                used.until = ends;
                SendTime::Now
            }
            Some(Slot { starts, .. }) => SendTime::In(starts - now),
            None => SendTime::Never,
        }
    }

    /// Mean time between the slots of this instance.
    pub fn apart(&self, calls_a_second: u32) -> Duration {
        Slots::new(calls_a_second, &self.owned()).apart()
    }

    /// Returns whether this instance has no slots.
    pub fn owns_nothing(&self) -> bool {
        self.owned().iter().all(Option::is_none)
    }

    /// Returns whether this instance reads no partition of the topic, not even one without slots.
    pub fn reads_nothing(&self) -> bool {
        self.owns_nothing() && self.uncounted.load(Ordering::Relaxed) == 0
    }

    /// Forgets webhooks whose last used slot has ended.
    pub fn forget_idle(&self, now: Duration) {
        self.webhooks.retain(|_, used| used.until > now);
    }

    fn owned(&self) -> MutexGuard<'_, Vec<Option<Duration>>> {
        self.owned.lock()
    }
}

impl SlotLease {
    /// Returns whether the partition has slots: it existed when partitions were counted.
    pub fn is_counted(&self) -> bool {
        self.partition < self.throttle.owned().len()
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        match self.throttle.owned().get_mut(self.partition) {
            Some(since) => *since = None,
            None => drop(self.throttle.uncounted.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_was_not_counted_has_no_slots_but_is_read() {
        let throttle = Throttle::new(2);
        let share = throttle.own(2, Duration::ZERO);
        assert!(!share.is_counted() && throttle.owns_nothing() && !throttle.reads_nothing());
        let counted = throttle.own(1, Duration::ZERO);
        assert!(counted.is_counted() && !throttle.owns_nothing());
        drop((share, counted));
        assert!(throttle.reads_nothing());
    }
}
