//! CallThrottling: a webhook's calls a second over the whole group, without a word between its instances.
//!
//! Time is cut into slots, as many a second as calls are allowed, and every slot belongs to one partition of the
//! overflow log. A call may go out only in a slot of a partition that this instance owns, one in each; since the
//! group gives every partition to one instance at a time, no two use the same slot. What finds no slot in time goes to
//! wait in the overflow log, where the calls of such a webhook are spread over all partitions: so each instance has as
//! large a part of them as of the slots. The calls of a webhook that wants
//! row order go out where they are read, so its slots belong to the partitions of that order's topic, and they wait for
//! theirs in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;

use self::slots::{SECOND, Slot, Slots};
use crate::id::WebhookId;

mod slots;

/// Who may send what when. Times are since 1970, by a clock that instances share.
#[derive(Debug)]
pub(super) struct Throttle {
    /// By partition: since when it is owned.
    owned: Mutex<Vec<Option<Duration>>>,
    /// How many more partitions this instance reads, which have no slots.
    uncounted: AtomicUsize,
    webhooks: DashMap<WebhookId, Used>,
}

/// What has been given out of a webhook's time.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// The end of the last slot in which a call went out.
    until: Duration,
}

/// Whether a call may go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendTime {
    Now,
    /// Not before this has passed.
    In(Duration),
    /// This instance has no share of the webhook's calls.
    Never,
}

/// The ownership of one partition's slots, for as long as it lives.
#[derive(Debug)]
pub struct SlotLease {
    throttle: Arc<Throttle>,
    partition: usize,
}

impl Throttle {
    /// For so many partitions of their topic.
    pub fn new(partitions: usize) -> Arc<Self> {
        let owned = Mutex::new(vec![None; partitions.max(1)]);
        Arc::new(Self { owned, uncounted: AtomicUsize::new(0), webhooks: DashMap::new() })
    }

    /// This instance owns a partition from `now` on. One that is beyond those that were counted has no slots.
    pub fn own(self: &Arc<Self>, partition: i32, now: Duration) -> SlotLease {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        match self.owned().get_mut(partition) {
            Some(since) => *since = Some(now),
            None => drop(self.uncounted.fetch_add(1, Ordering::Relaxed)),
        }
        SlotLease { throttle: self.clone(), partition }
    }

    /// Takes the slot of `now` for a call of a webhook that may make so many a second, or says when the next one is.
    pub fn take(&self, webhook: WebhookId, calls_a_second: u32, now: Duration) -> SendTime {
        let owned = self.owned();
        let slots = Slots::new(calls_a_second, &owned);
        let mut used = self.webhooks.entry(webhook).or_default();
        // No slot that was taken ends later than that, but by a clock that has been set back since.
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

    /// How far the slots of this instance are apart.
    pub fn apart(&self, calls_a_second: u32) -> Duration {
        Slots::new(calls_a_second, &self.owned()).apart()
    }

    /// Whether this instance has no slots at all.
    pub fn owns_nothing(&self) -> bool {
        self.owned().iter().all(Option::is_none)
    }

    /// Whether this instance reads no partition of the topic, not even one without slots.
    pub fn reads_nothing(&self) -> bool {
        self.owns_nothing() && self.uncounted.load(Ordering::Relaxed) == 0
    }

    /// Forgets webhooks of which nothing is to be remembered any more.
    pub fn forget_idle(&self, now: Duration) {
        self.webhooks.retain(|_, used| used.until > now);
    }

    fn owned(&self) -> MutexGuard<'_, Vec<Option<Duration>>> {
        self.owned.lock().expect("nothing that holds this lock can panic")
    }
}

impl SlotLease {
    /// Whether its partition was there when partitions were counted, so that it has slots.
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
