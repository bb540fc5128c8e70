//! Slows guessing down: who fails too often has to wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::id::ClientId;

/// How many failures within [`WINDOW`] are for free.
const FREE: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// How many guessers are remembered at most.
const GUESSERS: usize = 10_000;

/// From where, and at which client's secret; None is any client that does not exist. So whoever guesses does not
/// lock out the client itself, elsewhere.
type Guesser = (Option<IpAddr>, Option<ClientId>);

/// Failures of late.
#[derive(Default)]
pub struct Guesses(Mutex<HashMap<Guesser, (u32, Instant)>>);

impl Guesses {
    /// How long a guesser still has to wait, if at all.
    pub(super) fn wait(&self, guesser: Guesser, now: Instant) -> Option<Duration> {
        let guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (failures, since) = guesses.get(&guesser)?;
        let left = WINDOW.checked_sub(now.duration_since(*since)).filter(|left| !left.is_zero())?;
        (*failures >= FREE).then_some(left)
    }

    pub(super) fn failed(&self, guesser: Guesser, now: Instant) {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.len() >= GUESSERS {
            guesses.retain(|_, (_, since)| now.duration_since(*since) < WINDOW);
            // So many in a minute are one, under many addresses: what each did is no use to know.
            if guesses.len() >= GUESSERS {
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
    fn who_fails_too_often_waits_and_nobody_else_does() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let (client, other) = (ClientId::from_random([1; 16]), ClientId::from_random([2; 16]));
        let guesser = (Some(IpAddr::from([10, 0, 0, 1])), Some(client));
        for _ in 0..FREE {
            assert_eq!(guesses.wait(guesser, now), None);
            guesses.failed(guesser, now);
        }
        assert_eq!(guesses.wait(guesser, now), Some(WINDOW));
        assert_eq!(guesses.wait((guesser.0, Some(other)), now), None);
        assert_eq!(guesses.wait((Some(IpAddr::from([10, 0, 0, 2])), Some(client)), now), None);
        assert_eq!(guesses.wait(guesser, now + WINDOW), None);
        guesses.failed(guesser, now + WINDOW);
        assert_eq!(guesses.wait(guesser, now + WINDOW), None, "counted anew");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..30_000_u32 {
            guesses.failed((Some(IpAddr::from(number.to_be_bytes())), None), now);
        }
        assert!(guesses.0.lock().unwrap().len() <= GUESSERS);
    }
}
