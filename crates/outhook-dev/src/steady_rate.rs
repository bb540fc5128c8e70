//! Open-loop pacing: the number of due changes does not depend on the fate of earlier changes.

use std::time::Duration;

/// Max pause that is made up for. After a longer pause there is no burst for the rest.
const LONGEST_DEBT: Duration = Duration::from_millis(100);

/// Counter of due changes at a steady rate.
pub struct SteadyRate {
    rate: u32,
    last: Duration,
    /// Changes due, with their fraction.
    due: f64,
}

impl SteadyRate {
    /// `rate` is in changes per second.
    pub fn new(rate: u32) -> Self {
        Self { rate, last: Duration::ZERO, due: 0.0 }
    }

    /// Number of changes due at `now`, the time since the start.
    pub fn due(&mut self, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.last).min(LONGEST_DEBT);
        self.last = now;
        self.due += passed.as_secs_f64() * f64::from(self.rate);
        let whole = self.due.floor();
        self.due -= whole;
        whole as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_uneven_ticks() {
        for rate in [1, 7, 2_000, 33_333] {
            let mut pace = SteadyRate::new(rate);
            let mut now = Duration::ZERO;
            let mut made = 0;
            while now < Duration::from_secs(10) {
                now += Duration::from_micros(1 + now.as_micros() as u64 * 7_919 % 9_000);
                made += pace.due(now);
            }
            let expected = now.as_secs_f64() * f64::from(rate);
            assert!((f64::from(made) - expected).abs() <= 1.0, "{made} made of {expected} at {rate}/s");
        }
    }

    #[test]
    fn pause_is_not_followed_by_a_burst() {
        let mut pace = SteadyRate::new(2_000);
        pace.due(Duration::from_secs(1));
        assert_eq!(pace.due(Duration::from_secs(61)), 200);
    }
}
