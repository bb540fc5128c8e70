//! Latency histogram with buckets that grow with the value: percentiles of any number of latencies in fixed memory.

use std::time::Duration;

/// Buckets per power of two: a percentile is at most one part in 32 too high.
const STEPS: u64 = 32;
/// Up to 2^40 microseconds, about 12 days; a longer latency counts as that.
const BUCKETS: usize = (STEPS * 36) as usize;

/// A histogram of durations with a precision of one microsecond below 64 µs, and of 3 % above.
#[derive(Clone)]
pub(super) struct Latencies {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0 }
    }
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        self.buckets[bucket(latency.as_micros() as u64)] += 1;
        self.count += 1;
    }

    /// The smallest bucket end that at least `part` (0 to 1) of the recorded durations do not exceed. None if nothing
    /// is recorded.
    pub(super) fn percentile(&self, part: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let index = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(upper_end(index)))
    }
}

/// Bucket of a value. Values below 32 have a bucket each; above, each power of two is divided into 32 buckets.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let power = u64::from(micros.ilog2() - STEPS.ilog2());
    let index = power * STEPS + (micros >> power);
    (index as usize).min(BUCKETS - 1)
}

/// The greatest value of a bucket.
fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let power = index / STEPS - 1;
    ((index - power * STEPS + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_upper_end_and_not_the_next_value() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(upper_end(index)), index);
            assert_eq!(bucket(upper_end(index) + 1), index + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

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
}
