//! Limit of concurrent calls to an endpoint; pure. Times are counted from the start of the lane.
//!
//! Additive increase, multiplicative decrease, as in TCP (RFC 5681). There are two signs of trouble: responses that
//! report it (429, 5xx) or do not arrive, and responses that arrive much later than usual for this endpoint. Both
//! count only if they are more than a few of all responses. Until the first trouble the limit doubles each round.

use std::time::Duration;

/// Concurrent calls to a new endpoint. It doubles each round from here, so an endpoint that takes 1 s per call and 200
/// calls at a time is at its pace in the fourth second.
const INITIAL_LIMIT: f64 = 32.0;

/// Factor by which trouble reduces the limit.
const DECREASE_FACTOR: f64 = 0.7;

/// Share of responses with trouble from which on fewer calls are better. Below it, calls that fail occasionally
/// whatever the limit are retried; a lower limit would only slow them down.
const OVERLOAD_RATIO: f64 = 0.2;
/// Min number of responses of which this is a share.
const MIN_RESPONSES: f64 = 4.0;

/// Min time between two decreases. One decrease covers all calls that were under way with it.
const MIN_DECREASE_INTERVAL: Duration = Duration::from_millis(100);

/// A response is late if it takes more than this many times the usual time, and this many seconds longer.
const LATE_FACTOR: f64 = 4.0;
const LATE_MIN_SECONDS: f64 = 0.1;

/// Calls wait for each other if a response takes more than this many times the usual time plus this many seconds. With
/// more concurrent calls they would only wait longer.
const QUEUEING_FACTOR: f64 = 1.5;
const QUEUEING_MIN_SECONDS: f64 = 0.005;

/// An endpoint that responds fast needs few concurrent calls. The limit grows only until it is at least
/// `SUFFICIENT_LIMIT` and allows `SUFFICIENT_CALLS_PER_SECOND` calls a second. More connections only cost time.
const SUFFICIENT_LIMIT: f64 = 32.0;
const SUFFICIENT_CALLS_PER_SECOND: f64 = 10_000.0;

/// How fast the usual time follows slower responses: by a thousandth of the difference each.
const BASELINE_DRIFT: f64 = 0.001;
/// The same where responses may be slower because there are more of them.
const QUEUEING_BASELINE_DRIFT: f64 = BASELINE_DRIFT / 50.0;

#[derive(Debug, Clone)]
pub(in crate::deliver) struct Concurrency {
    limit: f64,
    min_limit: f64,
    max_limit: f64,
    /// Usual time of a response, in seconds.
    baseline_seconds: Option<f64>,
    /// No trouble so far.
    is_slow_start: bool,
    last_decrease: Option<Duration>,
    /// Share of recent responses that were trouble. Recent are about as many as the limit.
    overload_ratio: f64,
}

impl Concurrency {
    /// A limit between these two, both at least 1.
    pub fn new(lowest: usize, highest: usize) -> Self {
        let (lowest, highest) = (lowest.max(1) as f64, highest.max(1) as f64);
        Self {
            limit: INITIAL_LIMIT.clamp(lowest, highest),
            min_limit: lowest,
            max_limit: highest,
            baseline_seconds: None,
            is_slow_start: true,
            last_decrease: None,
            overload_ratio: 0.0,
        }
    }

    /// Max concurrent calls now.
    pub fn max_concurrent_calls(&self) -> usize {
        self.limit as usize
    }

    /// Records a response after `took`. `under_way` is the number of concurrent calls, including this one.
    pub fn record_response(&mut self, took: Duration, under_way: usize, now: Duration) {
        let took = took.as_secs_f64();
        let usual = self.baseline_seconds.get_or_insert(took);
        let is_crowded = took > *usual * QUEUEING_FACTOR + QUEUEING_MIN_SECONDS;
        let late = took > *usual * LATE_FACTOR && took > *usual + LATE_MIN_SECONDS;
        let drift = if is_crowded && !late { QUEUEING_BASELINE_DRIFT } else { BASELINE_DRIFT };
        *usual = if took < *usual { took } else { *usual + (took - *usual) * drift };
        if late {
            return self.record_overload(now);
        }
        self.update_overload_ratio(0.0);
        if under_way >= self.max_concurrent_calls() && !is_crowded && !self.is_sufficient() {
            // The limit grows only if it is used up, and responses are not slower because of it already.
            let more = if self.is_slow_start { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(self.max_limit);
        }
    }

    fn update_overload_ratio(&mut self, trouble: f64) {
        self.overload_ratio += (trouble - self.overload_ratio) / self.limit.max(MIN_RESPONSES);
    }

    /// Returns whether the limit allows more calls a second than this process sends to one endpoint.
    fn is_sufficient(&self) -> bool {
        self.limit >= SUFFICIENT_LIMIT
            && self.baseline_seconds.is_none_or(|usual| self.limit >= usual * SUFFICIENT_CALLS_PER_SECOND)
    }

    /// The endpoint works again: its limit is measured again, from at least the limit of a new endpoint.
    pub fn reset_after_recovery(&mut self) {
        self.limit = self.limit.max(INITIAL_LIMIT.min(self.max_limit));
        (self.is_slow_start, self.baseline_seconds, self.overload_ratio) = (true, None, 0.0);
    }

    /// Records that the endpoint reports overload or does not respond.
    pub fn record_overload(&mut self, now: Duration) {
        self.update_overload_ratio(1.0);
        if self.overload_ratio < OVERLOAD_RATIO {
            return;
        }
        self.is_slow_start = false;
        if self.last_decrease.is_none_or(|decreased| now >= decreased + MIN_DECREASE_INTERVAL) {
            self.last_decrease = Some(now);
            self.limit = (self.limit * DECREASE_FACTOR).max(self.min_limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUICK: Duration = Duration::from_millis(30);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The limit after a number of responses while the limit is used up.
    fn after(limit: &mut Concurrency, answers: usize, took: Duration, now: Duration) -> usize {
        (0..answers).for_each(|_| limit.record_response(took, limit.max_concurrent_calls(), now));
        limit.max_concurrent_calls()
    }

    #[test]
    fn limit_doubles_until_the_first_trouble_then_grows_by_one_a_round() {
        let mut limit = Concurrency::new(1, 128);
        assert_eq!(limit.max_concurrent_calls(), 32);
        assert_eq!(after(&mut limit, 32, QUICK, at(0)), 64);
        assert_eq!(after(&mut limit, 100, QUICK, at(0)), 128);
        (0..40).for_each(|_| limit.record_overload(at(0)));
        assert_eq!(limit.max_concurrent_calls(), 89);
        assert_eq!(after(&mut limit, 91, QUICK, at(1)), 90);
    }

    #[test]
    fn occasional_failures_do_not_lower_the_limit() {
        let mut limit = Concurrency::new(1, 64);
        for answer in 0..10_000 {
            if answer % 10 == 0 {
                limit.record_overload(at(answer))
            } else {
                limit.record_response(QUICK, limit.max_concurrent_calls(), at(answer))
            }
        }
        assert_eq!(limit.max_concurrent_calls(), 64);
        for answer in 10_000..12_000 {
            if answer % 3 == 0 {
                limit.record_overload(at(answer))
            } else {
                limit.record_response(QUICK, limit.max_concurrent_calls(), at(answer))
            }
        }
        assert!(limit.max_concurrent_calls() < 20, "{}", limit.max_concurrent_calls());
    }

    /// A receiver that processes a fixed number of concurrent calls keeps the others waiting.
    #[test]
    fn limit_converges_to_the_capacity_of_the_receiver() {
        for (takes, each) in [(160, 200), (20, 20), (100, 1000)] {
            let mut limit = Concurrency::new(1, 256);
            for round in 0..100 {
                let under_way = limit.max_concurrent_calls();
                let took = at(each * (under_way as u64).max(takes) / takes);
                (0..under_way)
                    .for_each(|_| limit.record_response(took, limit.max_concurrent_calls(), at(round * each)));
            }
            let allowed = limit.max_concurrent_calls() as u64;
            assert!((takes..=(takes * 3).max(64)).contains(&allowed), "{allowed} for {takes} in {each} ms");
        }
    }

    #[test]
    fn fast_endpoint_gets_few_connections() {
        assert_eq!(after(&mut Concurrency::new(1, 256), 5000, at(1), at(0)), 32);
        assert_eq!(after(&mut Concurrency::new(1, 256), 5000, at(10), at(0)), 100);
    }

    #[test]
    fn unused_limit_does_not_grow() {
        let mut limit = Concurrency::new(1, 64);
        (0..1000).for_each(|_| limit.record_response(QUICK, 3, at(0)));
        assert_eq!(limit.max_concurrent_calls(), 32);
    }

    #[test]
    fn limit_doubles_again_after_a_recovery() {
        let mut limit = Concurrency::new(1, 256);
        (0..99).for_each(|round| limit.record_overload(at(round * 100)));
        assert_eq!(limit.max_concurrent_calls(), 1);
        limit.reset_after_recovery();
        assert_eq!(limit.max_concurrent_calls(), 32);
        assert_eq!(after(&mut limit, 240, QUICK, at(10_000)), 256);
    }

    #[test]
    fn simultaneous_trouble_lowers_the_limit_once() {
        let mut limit = Concurrency::new(2, 32);
        after(&mut limit, 100, QUICK, at(0));
        (0..32).for_each(|_| limit.record_overload(at(10)));
        assert_eq!(limit.max_concurrent_calls(), 22);
        (1..100).for_each(|round| limit.record_overload(at(10 + round * 100)));
        assert_eq!(limit.max_concurrent_calls(), 2);
    }

    #[test]
    fn unusually_late_answers_count_as_trouble_and_always_slow_ones_do_not() {
        let mut limit = Concurrency::new(1, 32);
        after(&mut limit, 100, QUICK, at(0));
        after(&mut limit, 8, at(400), at(1000));
        assert_eq!(limit.max_concurrent_calls(), 22);
        let mut slow = Concurrency::new(1, 32);
        assert_eq!(after(&mut slow, 100, at(2000), at(0)), 32, "an endpoint that always takes 2 s is not in trouble");
    }

    proptest! {
        #[test]
        fn concurrency_limit_stays_within_its_bounds(
            lowest in 0usize..10,
            more in 0usize..100,
            steps in prop::collection::vec((any::<bool>(), 0u64..10_000, 0usize..200, 0u64..1000), 0..200),
        ) {
            let mut limit = Concurrency::new(lowest, lowest + more);
            let mut now = Duration::ZERO;
            for (trouble, took, under_way, passed) in steps {
                now += at(passed);
                if trouble { limit.record_overload(now) } else { limit.record_response(at(took), under_way, now) }
                prop_assert!((lowest.max(1)..=(lowest + more).max(1)).contains(&limit.max_concurrent_calls()));
            }
        }
    }
}
