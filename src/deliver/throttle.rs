//! CallThrottling: a webhook's calls a second over the whole group, without a word between its instances.
//!
//! Time is cut into slots, as many a second as calls are allowed, and every slot belongs to one partition of the
//! first retry topic. A call may go out only in a slot of a partition that this instance owns, one in each; since the
//! group gives every partition to one instance at a time, no two use the same slot. What finds no slot in time goes to
//! wait in a retry topic, each for a time of its own, so that they come back evenly. The calls of a webhook that wants
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
    longest_spread: Duration,
}

/// What has been given out of a webhook's time.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// The end of the last slot in which a call went out.
    until: Duration,
    /// Until when calls that came too early are spread.
    spread: Duration,
}

/// Whether a call may go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// Not before this has passed.
    In(Duration),
    /// This instance has no share of the webhook's calls.
    Never,
}

/// The ownership of one partition's slots, for as long as it lives.
#[derive(Debug)]
pub struct Share {
    throttle: Arc<Throttle>,
    partition: usize,
}

/// How fast calls come back that found no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as the whole group may send them: whoever has few slots may have made most of the calls.
    Group,
    /// As fast as this instance may send them.
    Own,
}

impl Throttle {
    /// For so many partitions of their topic. Calls that came too early are spread over `longest_spread`, and what is over
    /// comes back with others.
    pub fn new(partitions: usize, longest_spread: Duration) -> Arc<Self> {
        let owned = Mutex::new(vec![None; partitions.max(1)]);
        Arc::new(Self { owned, uncounted: AtomicUsize::new(0), webhooks: DashMap::new(), longest_spread })
    }

    /// This instance owns a partition from `now` on. One that is beyond those that were counted has no slots.
    pub fn own(self: &Arc<Self>, partition: i32, now: Duration) -> Share {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        match self.owned().get_mut(partition) {
            Some(since) => *since = Some(now),
            None => drop(self.uncounted.fetch_add(1, Ordering::Relaxed)),
        }
        Share { throttle: self.clone(), partition }
    }

    /// Takes the slot of `now` for a call of a webhook that may make so many a second, or says when the next one is.
    pub fn take(&self, webhook: WebhookId, calls_a_second: u32, now: Duration) -> Turn {
        let owned = self.owned();
        let slots = Slots::new(calls_a_second, &owned);
        let mut used = self.webhooks.entry(webhook).or_default();
        // No slot that was taken ends later than that, but by a clock that has been set back since.
        let free = if used.until > now + SECOND { Duration::ZERO } else { used.until };
        match slots.next(free, now) {
            Some(Slot { starts, ends }) if starts <= now => {
                used.until = ends;
                Turn::Now
            }
            Some(Slot { starts, .. }) => Turn::In(starts - now),
            None => Turn::Never,
        }
    }

    /// How far the slots of this instance are apart.
    pub fn apart(&self, calls_a_second: u32) -> Duration {
        Slots::new(calls_a_second, &self.owned()).apart()
    }

    /// How long a call waits for which there is no slot soon: at least `least`, and each longer than the one before.
    pub fn spread(
        &self,
        webhook: WebhookId,
        (calls_a_second, pace): (u32, Pace),
        least: Duration,
        now: Duration,
    ) -> Duration {
        let apart = match pace {
            Pace::Group => slots::length(calls_a_second),
            Pace::Own => self.apart(calls_a_second),
        };
        let mut used = self.webhooks.entry(webhook).or_default();
        let due = used.spread.min(now + least + self.longest_spread).max(now + least);
        used.spread = due + apart;
        due - now
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
        self.webhooks.retain(|_, used| used.until.max(used.spread) > now);
    }

    fn owned(&self) -> MutexGuard<'_, Vec<Option<Duration>>> {
        self.owned.lock().expect("nothing that holds this lock can panic")
    }
}

impl Share {
    /// Whether its partition was there when partitions were counted, so that it has slots.
    pub fn is_counted(&self) -> bool {
        self.partition < self.throttle.owned().len()
    }
}

impl Drop for Share {
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
    fn calls_are_spread_one_behind_the_other_but_not_too_far() {
        let longest = Duration::from_secs(3);
        let throttle = Throttle::new(2, longest);
        let (webhook, now) = ("abc123".parse().unwrap(), Duration::from_secs(1_800_000_000));
        let _shares = [0, 1].map(|partition| throttle.own(partition, Duration::ZERO));
        let waits: Vec<_> = (0..20).map(|_| throttle.spread(webhook, (2, Pace::Own), Duration::ZERO, now)).collect();
        let apart = SECOND / 2;
        assert!(waits[..5].windows(2).all(|pair| pair[1] - pair[0] == apart), "{waits:?}");
        assert_eq!(waits[19], longest);
        // Those that were too many keep the next ones waiting no longer.
        let later = throttle.spread(webhook, (2, Pace::Own), Duration::ZERO, now + Duration::from_secs(1));
        assert_eq!(later, longest + apart - Duration::from_secs(1));
    }

    #[test]
    fn who_has_few_slots_spreads_first_by_those_of_the_group() {
        let throttle = Throttle::new(4, Duration::from_secs(60));
        let _share = throttle.own(0, Duration::ZERO);
        let (webhook, now) = ("abc123".parse().unwrap(), Duration::from_secs(1_800_000_000));
        let spread = |pace| throttle.spread(webhook, (10, pace), Duration::ZERO, now);
        let waits = [Pace::Group, Pace::Group, Pace::Own, Pace::Own].map(spread);
        let apart = [0, 105, 210, 630].map(Duration::from_millis);
        assert_eq!(waits, apart);
    }

    #[test]
    fn a_partition_that_was_not_counted_has_no_slots_but_is_read() {
        let throttle = Throttle::new(2, Duration::from_secs(3));
        let share = throttle.own(2, Duration::ZERO);
        assert!(!share.is_counted() && throttle.owns_nothing() && !throttle.reads_nothing());
        let counted = throttle.own(1, Duration::ZERO);
        assert!(counted.is_counted() && !throttle.owns_nothing());
        drop((share, counted));
        assert!(throttle.reads_nothing());
    }
}
