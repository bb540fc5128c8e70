//! When the next attempt is due, or that none follows; pure.

use std::time::Duration;

/// The waits between a call's attempts.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    waits: Vec<Duration>,
    retry_after_limit: Duration,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Wait(Duration),
    GiveUp,
}

/// By how much a wait may be longer or shorter, so that calls that failed together don't come back together.
const JITTER: f64 = 0.2;

impl Schedule {
    pub fn new(waits: Vec<Duration>, retry_after_limit: Duration) -> Self {
        Self { waits, retry_after_limit }
    }

    /// What follows after `attempts` attempts, all failed. `asked` is the endpoint's Retry-After: the wait is
    /// not shorter than it, but by the limit. `random` is any number; all of its values are equally likely.
    ///
    /// `own` are the webhook's waits, if it has any of its own.
    pub fn next(&self, own: Option<&[Duration]>, attempts: u32, asked: Option<Duration>, random: u32) -> Next {
        let Some(wait) = (attempts as usize).checked_sub(1).and_then(|retries| own.unwrap_or(&self.waits).get(retries))
        else {
            return Next::GiveUp;
        };
        let spread = f64::from(random) / f64::from(u32::MAX);
        let wait = stretch(*wait, 1.0 - JITTER + 2.0 * JITTER * spread);
        let asked = asked.map_or(Duration::ZERO, |asked| {
            // Only ever later than asked.
            stretch(asked.min(self.retry_after_limit), 1.0 + JITTER * spread)
        });
        Next::Wait(wait.max(asked))
    }
}

fn stretch(wait: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const MIDDLE: u32 = u32::MAX / 2;

    fn schedule() -> Schedule {
        Schedule::new([0, 1, 5].map(Duration::from_secs).to_vec(), LIMIT)
    }

    fn seconds(next: Next) -> f64 {
        match next {
            Next::Wait(wait) => wait.as_secs_f64(),
            Next::GiveUp => panic!("gave up"),
        }
    }

    #[test]
    fn one_wait_before_each_retry_then_no_more() {
        assert_eq!(schedule().next(None, 1, None, 7), Next::Wait(Duration::ZERO));
        assert!((seconds(schedule().next(None, 2, None, MIDDLE)) - 1.0).abs() < 0.001);
        assert!((seconds(schedule().next(None, 3, None, MIDDLE)) - 5.0).abs() < 0.001);
        assert_eq!(schedule().next(None, 4, None, 7), Next::GiveUp);
        assert_eq!(schedule().next(None, 4, Some(Duration::from_secs(1)), 7), Next::GiveUp);
    }

    #[test]
    fn the_jitter_is_a_fifth_either_way() {
        assert!((seconds(schedule().next(None, 3, None, 0)) - 4.0).abs() < 0.001);
        assert!((seconds(schedule().next(None, 3, None, u32::MAX)) - 6.0).abs() < 0.001);
    }

    #[test]
    fn an_endpoint_can_ask_for_more_but_not_for_less() {
        assert_eq!(seconds(schedule().next(None, 1, Some(Duration::from_secs(9)), 0)), 9.0);
        assert_eq!(seconds(schedule().next(None, 3, Some(Duration::from_secs(1)), 0)), 4.0);
        assert_eq!(seconds(schedule().next(None, 1, Some(Duration::MAX), 0)), 60.0);
    }

    proptest! {
        #[test]
        fn bounds_hold(
            waits in prop::collection::vec(0u64..u64::MAX, 0..8),
            attempts: u32,
            asked in prop::option::of(any::<u64>()),
            random: u32,
        ) {
            let waits: Vec<_> = waits.into_iter().map(Duration::from_secs).collect();
            let asked = asked.map(Duration::from_secs);
            match Schedule::new(waits.clone(), LIMIT).next(None, attempts, asked, random) {
                Next::GiveUp => prop_assert!(attempts == 0 || attempts as usize > waits.len()),
                Next::Wait(wait) => {
                    let planned = waits[attempts as usize - 1];
                    prop_assert!(wait.as_secs_f64() >= planned.as_secs_f64() * 0.799);
                    prop_assert!(wait >= asked.unwrap_or_default().min(LIMIT));
                    prop_assert!(wait.as_secs_f64() <= planned.max(LIMIT).as_secs_f64() * 1.201);
                }
            }
        }
    }
}
