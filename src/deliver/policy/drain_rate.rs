//! Whether a full lane is slow because of its endpoint; pure. Times are those of the process's own
//! [clock](crate::deliver::clock).
//!
//! A lane is full because its endpoint takes less than arrives, or because this process sends less than arrives. Only
//! in the first case it is worth deferring calls. In the second case the process is as fast as it can be, and a caller
//! that waits for the lane waits for the process itself. The idle time of the process distinguishes the two.

use std::time::Duration;

use crate::deliver::clock::ClockReading;

/// Min time of a measurement before a lane counts as slow.
const MEASUREMENT_WINDOW: Duration = Duration::from_millis(100);

/// A lane that would be empty within this time is not slow.
const QUICK_DRAIN: Duration = Duration::from_millis(250);

/// Min share of idle time in a process that waits for an endpoint.
const MIN_IDLE_SHARE: f64 = 0.4;

/// How long a lane counts as slow before it is measured again. The time grows if the lane is slow again soon after.
const MIN_SLOW_TERM: Duration = Duration::from_secs(1);
const MAX_SLOW_TERM: Duration = Duration::from_secs(10);

/// How fast calls leave a full lane.
#[derive(Debug, Clone, Default)]
pub(in crate::deliver) struct DrainRate {
    /// Start of the current measurement. None while the lane has room.
    measured_since: Option<ClockReading>,
    attempts_ended: u32,
    slow_term: Duration,
    slow_until: Duration,
}

impl DrainRate {
    /// Counts an ended attempt of a call in the lane.
    pub fn count_ended_attempt(&mut self) {
        self.attempts_ended = self.attempts_ended.saturating_add(1);
    }

    /// The lane has room again.
    pub fn reset(&mut self) {
        self.measured_since = None;
    }

    /// Returns whether the lane, which is full with `calls` calls, makes others wait because of its endpoint. If calls
    /// wait in the overflow log already, the time until the lane is empty does not matter: the log refills it.
    pub fn is_slow(&mut self, calls: usize, is_behind: bool, now: ClockReading) -> bool {
        if now.running < self.slow_until {
            return true;
        }
        let Some(since) = self.measured_since else {
            (self.measured_since, self.attempts_ended) = (Some(now), 0);
            return false;
        };
        let measured = now.running.saturating_sub(since.running);
        if measured < MEASUREMENT_WINDOW {
            return false;
        }
        let idle = now.idle_since(since);
        let ended = std::mem::take(&mut self.attempts_ended);
        self.measured_since = Some(now);
        let leaves = f64::from(ended) / measured.as_secs_f64() * QUICK_DRAIN.as_secs_f64();
        // A lane that no call leaves hangs, however busy the process is.
        if ended > 0 && (idle < MIN_IDLE_SHARE || !is_behind && leaves >= calls as f64) {
            return false;
        }
        let is_repeated = now.running < self.slow_until + MAX_SLOW_TERM;
        self.slow_term =
            if is_repeated { (self.slow_term * 2).clamp(MIN_SLOW_TERM, MAX_SLOW_TERM) } else { MIN_SLOW_TERM };
        self.slow_until = now.running + self.slow_term;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(running: u64, idle: u64) -> ClockReading {
        ClockReading { running: Duration::from_millis(running), busy: Duration::from_millis(running - idle) }
    }

    #[test]
    fn stuck_lane_is_slow_after_the_first_measurement() {
        let mut pace = DrainRate::default();
        assert!(!pace.is_slow(1000, false, at(20_000, 9000)));
        assert!(!pace.is_slow(1000, false, at(20_099, 9099)), "nothing is known yet");
        assert!(pace.is_slow(1000, false, at(20_100, 9100)));
        assert!(pace.is_slow(1000, false, at(21_099, 9100)), "it is not measured again so soon");
    }

    #[test]
    fn lane_that_drains_soon_is_not_slow() {
        let mut pace = DrainRate::default();
        assert!(!pace.is_slow(1000, false, at(20_000, 0)));
        (0..400).for_each(|_| pace.count_ended_attempt());
        assert!(!pace.is_slow(1000, false, at(20_100, 100)));
        (0..399).for_each(|_| pace.count_ended_attempt());
        assert!(pace.is_slow(1000, false, at(20_200, 200)));
    }

    #[test]
    fn busy_process_does_not_blame_the_endpoint() {
        let mut pace = DrainRate::default();
        assert!(!pace.is_slow(1000, false, at(20_000, 0)));
        pace.count_ended_attempt();
        assert!(!pace.is_slow(1000, false, at(20_100, 39)));
        pace.count_ended_attempt();
        assert!(pace.is_slow(1000, false, at(20_200, 80)), "each window is measured separately");
    }

    #[test]
    fn lane_behind_waiting_calls_is_slow_even_if_it_drains_soon() {
        for (is_behind, idle, is_slow) in [(false, 100, false), (true, 100, true), (true, 30, false)] {
            let mut pace = DrainRate::default();
            assert!(!pace.is_slow(1000, is_behind, at(20_000, 0)));
            (0..900).for_each(|_| pace.count_ended_attempt());
            assert_eq!(pace.is_slow(1000, is_behind, at(20_100, idle)), is_slow, "{is_behind}, {idle}");
        }
    }

    #[test]
    fn persistently_slow_lane_is_measured_less_often() {
        let mut pace = DrainRate::default();
        let (mut now, mut idle, mut terms) = (20_000, 0, Vec::new());
        for _ in 0..6 {
            while !pace.is_slow(1000, false, at(now, idle)) {
                (now, idle) = (now + 100, idle + 100);
            }
            // No caller waits for the lane then, and the process is busy.
            let found = now;
            while pace.is_slow(1000, false, at(now, idle)) {
                pace.count_ended_attempt();
                now += 100;
            }
            terms.push((now - found) / 1000);
        }
        assert_eq!(terms, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn room_in_the_lane_resets_the_measurement() {
        let mut pace = DrainRate::default();
        assert!(!pace.is_slow(1000, false, at(20_000, 0)));
        pace.reset();
        assert!(!pace.is_slow(1000, false, at(30_000, 10_000)));
    }
}
