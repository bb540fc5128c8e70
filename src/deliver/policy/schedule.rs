//! Decides when the next attempt is due, or that none follows; pure.

use std::time::Duration;

/// The waits between a call's attempts.
#[derive(Debug, Clone)]
pub(in crate::deliver) struct Schedule {
    delays: Vec<Duration>,
    retry_after_limit: Duration,
    /// Shorter waits are spent in memory.
    shortest_tier: Duration,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum NextAttempt {
    /// A wait in memory, too short for a retry topic.
    InMemory(Duration),
    /// A wait in a retry topic.
    InTopic(Duration),
    /// No further attempt: the call is dead-lettered.
    Never,
}

/// Max part by which a wait is extended, so that calls that failed together are not retried together.
const MAX_JITTER: f64 = 0.2;

/// Min lifetime of a call whose endpoint fails, even if its schedule ends sooner. A breaker that opens for a moment
/// costs no message its attempts.
const MIN_LIFETIME: Duration = Duration::from_secs(60);

impl Schedule {
    /// `tiers` are the delays of the retry topics, the shortest first.
    pub fn new(waits: Vec<Duration>, retry_after_limit: Duration, tiers: &[Duration]) -> Self {
        let shortest_tier = tiers.first().copied().unwrap_or(Duration::MAX);
        Self { delays: waits, retry_after_limit, shortest_tier }
    }

    /// Returns what follows after `attempts` failed attempts. `retry_after` is the endpoint's Retry-After: the wait is
    /// not shorter than it, up to the limit. `random` is any number; all of its values are equally likely.
    ///
    /// `webhook_delays` is the webhook's own schedule, if it has one.
    pub fn next(
        &self,
        webhook_delays: Option<&[Duration]>,
        attempts: u32,
        retry_after: Option<Duration>,
        random: u32,
    ) -> NextAttempt {
        let Some(wait) =
            (attempts as usize).checked_sub(1).and_then(|retries| webhook_delays.unwrap_or(&self.delays).get(retries))
        else {
            return NextAttempt::Never;
        };
        let retry_after = retry_after.map_or(Duration::ZERO, |retry_after| retry_after.min(self.retry_after_limit));
        let wait = with_jitter((*wait).max(retry_after), random);
        if wait < self.shortest_tier { NextAttempt::InMemory(wait) } else { NextAttempt::InTopic(wait) }
    }

    /// Max lifetime of a call whose endpoint fails all the time.
    pub fn lifetime(&self, webhook_delays: Option<&[Duration]>) -> Duration {
        let delays = webhook_delays.unwrap_or(&self.delays);
        let sum = delays.iter().fold(Duration::ZERO, |sum, delay| sum.saturating_add(*delay));
        scale(sum, 1.0 + MAX_JITTER).max(MIN_LIFETIME)
    }
}

/// The wait with its jitter.
fn with_jitter(wait: Duration, random: u32) -> Duration {
    scale(wait, 1.0 + MAX_JITTER * f64::from(random) / f64::from(u32::MAX))
}

fn scale(wait: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const TIERS: [Duration; 4] =
        [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(300), Duration::from_secs(7200)];

    fn schedule() -> Schedule {
        Schedule::new([0, 1, 5].map(Duration::from_secs).to_vec(), LIMIT, &TIERS)
    }

    fn seconds(next: NextAttempt) -> f64 {
        match next {
            NextAttempt::InMemory(wait) | NextAttempt::InTopic(wait) => wait.as_secs_f64(),
            NextAttempt::Never => panic!("no attempt follows"),
        }
    }

    #[test]
    fn one_wait_precedes_each_retry_then_the_schedule_ends() {
        assert_eq!(schedule().next(None, 1, None, 7), NextAttempt::InMemory(Duration::ZERO));
        assert_eq!(schedule().next(None, 2, None, 0), NextAttempt::InTopic(Duration::from_secs(1)));
        assert_eq!(schedule().next(None, 3, None, 0), NextAttempt::InTopic(Duration::from_secs(5)));
        assert_eq!(schedule().next(None, 4, None, 7), NextAttempt::Never);
        assert_eq!(schedule().next(None, 4, Some(Duration::from_secs(1)), 7), NextAttempt::Never);
    }

    #[test]
    fn schedule_of_a_webhook_overrides_the_default() {
        let own = [Duration::from_millis(900)];
        assert_eq!(schedule().next(Some(&own), 1, None, 0), NextAttempt::InMemory(own[0]));
        assert_eq!(schedule().next(Some(&own), 2, None, 0), NextAttempt::Never);
        assert_eq!(schedule().next(Some(&[]), 1, None, 0), NextAttempt::Never);
    }

    #[test]
    fn the_jitter_is_up_to_a_fifth() {
        assert!((seconds(schedule().next(None, 3, None, u32::MAX / 2)) - 5.5).abs() < 0.001);
        assert!((seconds(schedule().next(None, 3, None, u32::MAX)) - 6.0).abs() < 0.001);
    }

    #[test]
    fn retry_after_can_lengthen_but_not_shorten_the_wait() {
        assert_eq!(seconds(schedule().next(None, 1, Some(Duration::from_secs(9)), 0)), 9.0);
        assert_eq!(seconds(schedule().next(None, 3, Some(Duration::from_secs(1)), 0)), 5.0);
        assert_eq!(seconds(schedule().next(None, 1, Some(Duration::MAX), 0)), 60.0);
    }

    #[test]
    fn a_lifetime_covers_the_schedule_with_its_jitter() {
        assert_eq!(schedule().lifetime(None), MIN_LIFETIME);
        assert_eq!(schedule().lifetime(Some(&[Duration::from_secs(100); 2])), Duration::from_secs(240));
        assert!(schedule().lifetime(Some(&[Duration::MAX; 2])) > Duration::from_secs(1 << 40));
    }

    proptest! {
        #[test]
        fn next_attempt_stays_within_schedule_and_limit(
            waits in prop::collection::vec(0u64..u64::MAX, 0..8),
            attempts: u32,
            asked in prop::option::of(any::<u64>()),
            random: u32,
        ) {
            let waits: Vec<_> = waits.into_iter().map(Duration::from_secs).collect();
            let asked = asked.map(Duration::from_secs);
            match Schedule::new(waits.clone(), LIMIT, &TIERS).next(None, attempts, asked, random) {
                NextAttempt::Never => prop_assert!(attempts == 0 || attempts as usize > waits.len()),
                NextAttempt::InMemory(wait) | NextAttempt::InTopic(wait) => {
                    let planned = waits[attempts as usize - 1];
                    prop_assert!(wait.as_secs_f64() >= planned.as_secs_f64() * 0.999);
                    prop_assert!(wait >= asked.unwrap_or_default().min(LIMIT));
                    prop_assert!(wait.as_secs_f64() <= planned.max(LIMIT).as_secs_f64() * 1.201);
                }
            }
        }
    }
}
