//! Capacity of a receiver as arithmetic: computes when each request is answered.
//!
//! A receiver serves `at_once` requests at the same time, each for `delay`; the rest queue. So it takes `at_once /
//! delay` per second at any load, which is the knee of its curve. Service times start when a place became free, not
//! when a timer fired. So late timers do not make the receiver slower than its stated capacity.

use std::collections::VecDeque;
use std::time::Duration;

pub struct Knee {
    delay: Duration,
    /// 0 for no limit.
    at_once: usize,
    /// Completion times of the requests in service, earliest first. Never more than `at_once`.
    busy: VecDeque<Duration>,
    /// Start and end of a time without answers.
    stall: Option<(Duration, Duration)>,
}

impl Knee {
    pub fn new(delay: Duration, at_once: usize) -> Self {
        Self { delay, at_once, busy: VecDeque::new(), stall: None }
    }

    /// Sends no answers from `from` to `to`.
    pub fn stall(&mut self, from: Duration, to: Duration) {
        self.stall = Some((from, to));
    }

    /// Admits a request at `now`; returns when it is answered. Times count from any common origin.
    pub fn admit(&mut self, now: Duration) -> Duration {
        if self.at_once == 0 {
            return self.awake(now) + self.delay;
        }
        let free = if self.busy.len() < self.at_once { None } else { self.busy.pop_front() };
        let done = self.awake(now.max(free.unwrap_or_default())) + self.delay;
        self.busy.push_back(done);
        done
    }

    /// The first time from `at` on that is not in the stall.
    pub fn awake(&self, at: Duration) -> Duration {
        match self.stall {
            Some((from, to)) if (from..to).contains(&at) => to,
            _ => at,
        }
    }
}
