//! The slots of a webhook's calls; pure.

use std::time::Duration;

/// Total length of the slots of one second. A slot is slightly longer than its share, so that calls with different
/// travel times still don't exceed the limit in any second at the receiver.
pub(super) const SLOT_CYCLE: Duration = Duration::from_millis(1050);

/// How long after its start a slot may be used. A later call would be too close to those of the next slots, so it
/// waits for the next slot.
const MAX_LATENESS: Duration = Duration::from_millis(25);

/// Time after a takeover before a partition's slots are used: the previous owner may have used the last one.
const TAKEOVER_DELAY: Duration = SLOT_CYCLE;

/// The slots of a webhook. This instance owns some of them.
pub(super) struct Slots<'o> {
    /// By partition: since when this instance owns it.
    owned_since: &'o [Option<Duration>],
    /// In nanoseconds.
    slot_nanos: u64,
}

/// Start and end of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub starts: Duration,
    pub ends: Duration,
}

impl<'o> Slots<'o> {
    pub fn new(calls_a_second: u32, owned: &'o [Option<Duration>]) -> Self {
        Self { owned_since: owned, slot_nanos: nanos(length(calls_a_second)) }
    }

    /// Returns the first owned slot that may still be used at `now` and does not start before `free`.
    pub fn next(&self, free: Duration, now: Duration) -> Option<Slot> {
        let partitions = self.owned_since.len() as u64;
        let usable = nanos(now.saturating_sub(MAX_LATENESS.min(Duration::from_nanos(self.slot_nanos))));
        let first = |(partition, since): (u64, Duration)| {
            let owned = nanos(since.min(now).saturating_add(TAKEOVER_DELAY));
            let from = usable.max(nanos(free)).max(owned).div_ceil(self.slot_nanos);
            from.saturating_add((partition + partitions - from % partitions) % partitions)
        };
        let ours = (0..).zip(self.owned_since).filter_map(|(partition, since)| Some((partition, (*since)?)));
        let number = ours.map(first).min()?;
        let at = |number: u64| Duration::from_nanos(number.saturating_mul(self.slot_nanos));
        Some(Slot { starts: at(number), ends: at(number.saturating_add(1)) })
    }

    /// Mean time between owned slots. If none is owned, the time between the slots of one partition.
    pub fn mean_interval(&self) -> Duration {
        let ours = self.owned_since.iter().flatten().count().max(1) as u64;
        Duration::from_nanos(self.slot_nanos.saturating_mul(self.owned_since.len() as u64) / ours)
    }
}

/// Length of a slot.
pub(super) fn length(calls_a_second: u32) -> Duration {
    (SLOT_CYCLE / calls_a_second.max(1)).max(Duration::from_nanos(1))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG_AGO: Option<Duration> = Some(Duration::ZERO);
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    /// The start times of the first slots of one owner from `NOW` on.
    fn slots(calls: u32, owned: &[Option<Duration>], count: usize) -> Vec<Duration> {
        let (slots, mut free) = (Slots::new(calls, owned), NOW);
        let next = std::iter::from_fn(|| {
            let slot = slots.next(free, NOW)?;
            free = slot.ends;
            Some(slot.starts)
        });
        next.take(count).collect()
    }

    #[test]
    fn slots_of_a_partition_start_some_time_after_the_takeover() {
        let owned = [Some(NOW)];
        let slot = Slots::new(100, &owned).next(Duration::ZERO, NOW).unwrap();
        assert!(slot.starts >= NOW + TAKEOVER_DELAY && slot.starts < NOW + TAKEOVER_DELAY + Duration::from_millis(11));
        assert_eq!(Slots::new(100, &[None, None]).next(Duration::ZERO, NOW), None);
    }

    #[test]
    fn owner_of_all_partitions_has_every_slot() {
        let owned = [LONG_AGO; 4];
        let times = slots(10, &owned, 50);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(105)));
        assert_eq!(Slots::new(10, &owned).mean_interval(), Duration::from_millis(105));
        assert_eq!(Slots::new(10, &[LONG_AGO, None, None, None]).mean_interval(), Duration::from_millis(420));
    }

    proptest! {
        /// However the partitions are spread over instances, no second has more slots than calls are allowed.
        #[test]
        fn slots_keep_the_limit_in_any_second(calls in 1u32..200, owners in prop::collection::vec(0usize..3, 1..13)) {
            let mut all: Vec<Duration> = (0..3).flat_map(|owner| {
                let owned: Vec<_> = owners.iter().map(|of| (*of == owner).then_some(Duration::ZERO)).collect();
                slots(calls, &owned, 3 * calls as usize)
            }).collect();
            all.sort();
            prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "a slot was used twice");
            let most = all.iter().map(|from| {
                all.iter().filter(|at| *at >= from && **at < *from + Duration::from_secs(1)).count()
            }).max();
            prop_assert!(most <= Some(calls as usize), "{most:?} of {calls}");
        }

        /// Calls that arrive at any time, and calls that wait for their slot and use it as soon as it starts.
        #[test]
        fn calls_at_any_time_never_exceed_the_limit_in_any_second(
            calls in 1u32..200,
            pauses in prop::collection::vec((0u64..1_000_000_000, any::<bool>()), 1..200),
        ) {
            let owned = [LONG_AGO; 4];
            let slots = Slots::new(calls, &owned);
            let (mut now, mut free, mut sent) = (NOW, Duration::ZERO, Vec::new());
            for (pause, comes_again) in pauses {
                now += Duration::from_nanos(if comes_again { pause % 20_000_000 } else { pause });
                let slot = slots.next(free, now).unwrap();
                now = now.max(slot.starts);
                free = slot.ends;
                sent.push(now);
            }
            let second = Duration::from_secs(1);
            prop_assert!(sent.windows(calls as usize + 1).all(|some| some[calls as usize] - some[0] >= second));
        }

        #[test]
        fn arbitrary_numbers_never_panic(calls: u32, free: u64, now: u64, since: u64, partitions in 1usize..5) {
            let owned = vec![Some(Duration::from_nanos(since)); partitions];
            let slots = Slots::new(calls, &owned);
            let _ = (slots.next(Duration::from_nanos(free), Duration::from_nanos(now)), slots.mean_interval());
        }
    }
}
