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

use self::slots::{SLOT_CYCLE, Slot, Slots};
use crate::id::WebhookId;

mod slots;

/// Assigns slots to calls. Times are since 1970, by a clock that instances share.
#[derive(Debug)]
pub(super) struct Throttle {
    /// By partition: since when this instance owns it.
    owned_since: Mutex<Vec<Option<Duration>>>,
    /// The number of owned partitions that have no slots.
    partitions_without_slots: AtomicUsize,
    webhooks: DashMap<WebhookId, UsedSlots>,
}

/// The used slots of a webhook.
#[derive(Debug, Clone, Copy, Default)]
struct UsedSlots {
    /// The end of the last slot in which a call went out.
    used_until: Duration,
}

/// When a call may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendTime {
    Now,
    /// Not before this time has passed.
    After(Duration),
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
        Arc::new(Self { owned_since: owned, partitions_without_slots: AtomicUsize::new(0), webhooks: DashMap::new() })
    }

    /// This instance owns a partition from `now` on. A partition above the number given to [`Throttle::new`] has no
    /// slots.
    pub fn acquire_partition(self: &Arc<Self>, partition: i32, now: Duration) -> SlotLease {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        match self.lock_owned().get_mut(partition) {
            Some(since) => *since = Some(now),
            None => drop(self.partitions_without_slots.fetch_add(1, Ordering::Relaxed)),
        }
        SlotLease { throttle: self.clone(), partition }
    }

    /// Takes the slot of `now` for a call of a webhook with this limit, or returns when the next slot starts.
    pub fn take(&self, webhook: WebhookId, calls_a_second: u32, now: Duration) -> SendTime {
        let owned = self.lock_owned();
        let slots = Slots::new(calls_a_second, &owned);
        let mut used = self.webhooks.entry(webhook).or_default();
        // A used slot ends no later than that, unless the clock was set back.
        let free = if used.used_until > now + SLOT_CYCLE { Duration::ZERO } else { used.used_until };
        match slots.next(free, now) {
            Some(Slot { starts, ends }) if starts <= now => {
                used.used_until = ends;
                SendTime::Now
            }
            Some(Slot { starts, .. }) => SendTime::After(starts - now),
            None => SendTime::Never,
        }
    }

    /// Mean time between the slots of this instance.
    pub fn mean_slot_interval(&self, calls_a_second: u32) -> Duration {
        Slots::new(calls_a_second, &self.lock_owned()).mean_interval()
    }

    /// Returns whether this instance has no slots.
    pub fn has_no_slots(&self) -> bool {
        self.lock_owned().iter().all(Option::is_none)
    }

    /// Returns whether this instance reads no partition of the topic, not even one without slots.
    pub fn reads_no_partition(&self) -> bool {
        self.has_no_slots() && self.partitions_without_slots.load(Ordering::Relaxed) == 0
    }

    /// Forgets webhooks whose last used slot has ended.
    pub fn forget_idle(&self, now: Duration) {
        self.webhooks.retain(|_, used| used.used_until > now);
    }

    fn lock_owned(&self) -> MutexGuard<'_, Vec<Option<Duration>>> {
        self.owned_since.lock()
    }
}

impl SlotLease {
    /// Returns whether the partition has slots: it existed when partitions were counted.
    pub fn has_slots(&self) -> bool {
        self.partition < self.throttle.lock_owned().len()
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        match self.throttle.lock_owned().get_mut(self.partition) {
            Some(since) => *since = None,
            None => drop(self.throttle.partitions_without_slots.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncounted_partition_has_no_slots_but_is_read() {
        let throttle = Throttle::new(2);
        let share = throttle.acquire_partition(2, Duration::ZERO);
        assert!(!share.has_slots() && throttle.has_no_slots() && !throttle.reads_no_partition());
        let counted = throttle.acquire_partition(1, Duration::ZERO);
        assert!(counted.has_slots() && !throttle.has_no_slots());
        drop((share, counted));
        assert!(throttle.reads_no_partition());
    }
}
