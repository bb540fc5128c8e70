//! Selects the retry topic of a waiting call, and computes when the call has waited long enough. Pure.
//!
//! All records of one topic wait about equally long, so they leave it in the order in which they arrived. A wait
//! between two delays is spent in the topic of the shorter delay. The rest is spent in topics of ever shorter delays.

use std::sync::Arc;
use std::time::Duration;

/// The retry topics, the shortest delay first.
#[derive(Debug, Clone)]
pub struct Tiers(Arc<[Tier]>);

/// One retry topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    pub topic: Arc<str>,
    pub delay: Duration,
}

/// Max delay of a deferral: a call that this instance can't send now is checked again after at most this time.
const MAX_DEFERRAL: Duration = Duration::from_secs(300);

/// Divisor: beyond the topic's delay, a record may hold up the records behind it for this fraction of the delay.
const MAX_EXTRA_WAIT_DIVISOR: i64 = 4;

impl Tiers {
    /// Topics for these delays, the shortest first. Their names begin with `prefix`.
    pub fn new(prefix: &str, delays: &[Duration]) -> Self {
        let tier = |delay: &Duration| Tier { topic: format!("{prefix}.{}", name(*delay)).into(), delay: *delay };
        Self(delays.iter().map(tier).collect())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tier> {
        self.0.iter()
    }

    /// The tier of a topic.
    pub fn by_topic(&self, topic: &str) -> Option<&Tier> {
        self.0.iter().find(|tier| &*tier.topic == topic)
    }

    /// The tier for the wait after this number of deferrals: a longer one each time, up to five minutes.
    pub fn for_deferral(&self, deferrals: u32) -> &Tier {
        let short = self.0.iter().take_while(|tier| tier.delay <= MAX_DEFERRAL).count().max(1);
        &self.0[(deferrals as usize).min(short - 1)]
    }

    /// The tier for a wait: the longest delay that is not longer than the wait, or else the shortest.
    ///
    /// # Panics
    /// If there is no tier. The configuration check refuses that.
    pub fn of(&self, wait: Duration) -> &Tier {
        let longest = self.0.iter().rev().find(|tier| tier.delay <= wait);
        longest.or(self.0.first()).expect("a configuration without retry topics is refused")
    }
}

impl Tier {
    /// The delay, as the name of this tier among the places where calls wait.
    pub fn name(&self) -> String {
        name(self.delay)
    }

    /// When a record leaves the topic, in milliseconds since 1970. A record that is due within 1.25 delays of its
    /// append leaves when it is due. Any other record leaves after one delay, and spends the rest of its wait in
    /// another topic. Never later than [`Tier::latest_ms`].
    pub fn leaves_at_ms(&self, appended_ms: i64, due_ms: i64, now_ms: i64) -> i64 {
        let delay_ms = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        let longest_ms = delay_ms.saturating_add(delay_ms / MAX_EXTRA_WAIT_DIVISOR);
        let waited_ms = appended_ms.saturating_add(delay_ms);
        let until_ms = if due_ms <= appended_ms.saturating_add(longest_ms) { due_ms } else { waited_ms.min(due_ms) };
        until_ms.min(self.latest_ms(now_ms))
    }

    /// The latest time at which a record that arrives now leaves the topic, whatever the clocks say, in milliseconds
    /// since 1970.
    pub fn latest_ms(&self, now_ms: i64) -> i64 {
        let delay_ms = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_add(delay_ms.saturating_add(delay_ms / MAX_EXTRA_WAIT_DIVISOR))
    }
}

/// A delay as part of a topic's name: `500ms`, `5s`, `30m`, `2h`.
fn name(delay: Duration) -> String {
    let millis = delay.as_millis();
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.iter().find(|(_, unit)| millis.is_multiple_of(*unit)) {
        Some((letter, unit)) => format!("{}{letter}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tiers() -> Tiers {
        Tiers::new("outhook.retry", &[1, 5, 30, 300, 7200].map(Duration::from_secs))
    }

    #[test]
    fn topics_are_named_by_their_delay() {
        let named: Vec<_> = tiers().iter().map(|tier| tier.topic.to_string()).collect();
        assert_eq!(
            named,
            ["outhook.retry.1s", "outhook.retry.5s", "outhook.retry.30s", "outhook.retry.5m", "outhook.retry.2h"]
        );
        assert_eq!(name(Duration::from_millis(1500)), "1500ms");
        assert_eq!(tiers().by_topic("outhook.retry.5m").unwrap().delay, Duration::from_secs(300));
    }

    #[test]
    fn wait_uses_the_longest_tier_that_is_not_longer() {
        for (wait, topic) in [(0, "1s"), (1, "1s"), (4, "1s"), (6, "5s"), (299, "30s"), (100_000, "2h")] {
            assert_eq!(&*tiers().of(Duration::from_secs(wait)).topic, format!("outhook.retry.{topic}"), "{wait}");
        }
    }

    #[test]
    fn deferrals_wait_in_longer_tiers_up_to_five_minutes() {
        let delays: Vec<_> = (0..6).map(|deferrals| tiers().for_deferral(deferrals).delay.as_secs()).collect();
        assert_eq!(delays, [1, 5, 30, 300, 300, 300]);
    }

    #[test]
    fn nearly_due_calls_stay_in_their_tier_and_long_waits_move_on() {
        let tier = tiers().by_topic("outhook.retry.30s").unwrap().clone();
        let until = |due: i64, now: i64| tier.leaves_at_ms(1_000_000, 1_000_000 + due, 1_000_000 + now) - 1_000_000;
        assert_eq!(until(30_000, 0), 30_000);
        assert_eq!(until(-5_000, 99_000), -5_000);
        assert_eq!(until(36_000, 10_000), 36_000);
        assert_eq!(until(60_000, 10_000), 30_000, "then it waits elsewhere");
        assert_eq!(until(30_000, -1_000_000), -1_000_000 + 37_500, "a clock that was set back");
    }

    proptest! {
        /// A call leaves the last topic when it is due and not much later, however many topics it passes.
        #[test]
        fn every_call_leaves_the_tiers_when_it_is_due(wait_ms in 0i64..500_000_000) {
            let tiers = tiers();
            let (mut now, due) = (0, wait_ms);
            let mut topics = 0;
            while now < due {
                let tier = tiers.of(Duration::from_millis((due - now) as u64));
                now = tier.leaves_at_ms(now, due, now).max(now);
                topics += 1;
            }
            prop_assert_eq!(now, due);
            prop_assert!(topics < 200, "{} topics", topics);
        }

        #[test]
        fn arbitrary_times_never_panic(appended: i64, due: i64, now: i64) {
            for tier in tiers().iter() {
                let _ = tier.leaves_at_ms(appended, due, now);
            }
        }
    }
}
