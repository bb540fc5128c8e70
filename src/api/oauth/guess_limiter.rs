//! Limits the rate of wrong credentials: after too many failures further attempts have to wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::id::ClientId;

/// Number of failures within [`WINDOW`] that cause no wait.
const FREE_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Max number of guessers in memory.
const MAX_GUESSERS: usize = 10_000;

/// The source address and the client whose secret is guessed; None is any client that does not exist. The address is
/// included because guesses from one address must not block the client at another address.
type Guesser = (Option<IpAddr>, Option<ClientId>);

/// Recent failures per guesser: their number, and when the first of them happened.
#[derive(Default)]
pub struct GuessLimiter(Mutex<HashMap<Guesser, (u32, Instant)>>);

impl GuessLimiter {
    /// How long a guesser still has to wait; None if it need not wait.
    pub(super) fn remaining_wait(&self, guesser: Guesser, now: Instant) -> Option<Duration> {
        let guesses = self.0.lock();
        let (failures, since) = guesses.get(&guesser)?;
        let left = WINDOW.checked_sub(now.duration_since(*since)).filter(|left| !left.is_zero())?;
        (*failures >= FREE_FAILURES).then_some(left)
    }

    pub(super) fn record_failure(&self, guesser: Guesser, now: Instant) {
        let mut guesses = self.0.lock();
        if guesses.len() >= MAX_GUESSERS {
            guesses.retain(|_, (_, since)| now.duration_since(*since) < WINDOW);
            // This many guessers within a minute are one attacker with many addresses. Counts per address are useless
            // then.
            if guesses.len() >= MAX_GUESSERS {
                guesses.clear();
            }
        }
        let (failures, since) = guesses.entry(guesser).or_insert((0, now));
        if now.duration_since(*since) >= WINDOW {
            (*failures, *since) = (0, now);
        }
        *failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesser_with_too_many_failures_waits_and_others_do_not() {
        let (guesses, now) = (GuessLimiter::default(), Instant::now());
        let (client, other) = (ClientId::from_random([1; 16]), ClientId::from_random([2; 16]));
        let guesser = (Some(IpAddr::from([10, 0, 0, 1])), Some(client));
        for _ in 0..FREE_FAILURES {
            assert_eq!(guesses.remaining_wait(guesser, now), None);
            guesses.record_failure(guesser, now);
        }
        assert_eq!(guesses.remaining_wait(guesser, now), Some(WINDOW));
        assert_eq!(guesses.remaining_wait((guesser.0, Some(other)), now), None);
        assert_eq!(guesses.remaining_wait((Some(IpAddr::from([10, 0, 0, 2])), Some(client)), now), None);
        assert_eq!(guesses.remaining_wait(guesser, now + WINDOW), None);
        guesses.record_failure(guesser, now + WINDOW);
        assert_eq!(guesses.remaining_wait(guesser, now + WINDOW), None, "the count starts again");
    }

    #[test]
    fn number_of_remembered_guessers_is_bounded() {
        let (guesses, now) = (GuessLimiter::default(), Instant::now());
        for number in 0..30_000_u32 {
            guesses.record_failure((Some(IpAddr::from(number.to_be_bytes())), None), now);
        }
        assert!(guesses.0.lock().len() <= MAX_GUESSERS);
    }
}
