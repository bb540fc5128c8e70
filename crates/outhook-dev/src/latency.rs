//! Latency histogram: percentiles of any number of latencies in fixed memory.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency in microseconds, about 12 days; a longer one counts as that.
const LONGEST: u64 = 1 << 40;

/// A histogram of durations in microseconds with two significant digits.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 2).expect("the bounds and digits are in the range of the library"))
    }
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// A duration that at least `part` (0 to 1) of the recorded ones do not exceed: at most 1 % above the smallest
    /// such. None if nothing is recorded.
    pub fn percentile(&self, part: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close_and_never_too_low() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(0.5), None);
        (1..=10_000).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        for (part, exact) in [(0.5, 5_000), (0.95, 9_500), (0.99, 9_900)] {
            let found = latencies.percentile(part).unwrap().as_millis();
            assert!((exact..=exact + exact / 32).contains(&found), "p{part}: {found}");
        }
    }

    #[test]
    fn any_latency_is_recorded() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        assert_eq!(latencies.percentile(0.99), Some(Duration::ZERO));
        latencies.record(Duration::MAX);
        assert!(latencies.percentile(0.99).unwrap() >= Duration::from_micros(LONGEST));
    }
}
