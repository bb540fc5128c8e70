//! Whether a full lane is worth waiting for; pure. Times are counted from the lane's birth.

use std::time::Duration;

/// How long is measured before a pace is believed. A lane that has only just filled up has the benefit of the
/// doubt for so long.
const WINDOW: Duration = Duration::from_millis(100);

/// How long a pace is remembered once the lane is no longer full.
const MEMORY: Duration = Duration::from_secs(10);

/// How fast calls leave a lane that is full.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    since: Duration,
    left: u32,
    /// Calls a second in the last whole window; None in the first.
    a_second: Option<f64>,
}

impl Pace {
    /// The lane is full from now on. What it was like when it was full a moment ago still holds; what was longer
    /// before says nothing.
    pub fn full(&mut self, now: Duration) {
        let recent = now.saturating_sub(self.since) < MEMORY;
        *self = Self { since: now, left: 0, a_second: self.a_second.filter(|_| recent) };
    }

    /// An attempt of a call that the lane held has ended.
    pub fn left(&mut self) {
        self.left = self.left.saturating_add(1);
    }

    /// Whether so many calls will have left in this time.
    pub fn moves(&mut self, calls: usize, within: Duration, now: Duration) -> bool {
        let measured = now.saturating_sub(self.since);
        if measured >= WINDOW {
            let a_second = f64::from(self.left) / measured.as_secs_f64();
            *self = Self { since: now, left: 0, a_second: Some(a_second) };
        }
        self.a_second.is_none_or(|a_second| a_second * within.as_secs_f64() >= calls as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_lane_that_moves_is_worth_a_wait_and_one_that_hangs_is_not() {
        let mut pace = Pace::default();
        pace.full(at(5000));
        assert!(pace.moves(1000, SECOND, at(5099)), "nothing is known yet");
        assert!(!pace.moves(1000, SECOND, at(5100)), "nothing has left");
        (0..99).for_each(|_| pace.left());
        assert!(!pace.moves(1000, SECOND, at(5150)), "the last whole window counts");
        assert!(!pace.moves(1000, SECOND, at(5200)));
        (0..101).for_each(|_| pace.left());
        assert!(pace.moves(1000, SECOND, at(5300)));
        assert!(!pace.moves(1000, SECOND / 2, at(5301)));
    }

    #[test]
    fn what_hung_a_moment_ago_is_not_believed_to_move() {
        let mut pace = Pace::default();
        pace.full(at(0));
        assert!(!pace.moves(1000, SECOND, at(100)));
        pace.full(at(1200));
        assert!(!pace.moves(1000, SECOND, at(1201)));
        pace.full(at(20_000));
        assert!(pace.moves(1000, SECOND, at(20_001)));
    }
}
