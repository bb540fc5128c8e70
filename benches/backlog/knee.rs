//! What a receiver takes, as arithmetic: when a request that comes now is answered.
//!
//! A receiver serves `at_once` requests side by side, each for `delay`; the rest queue. It therefore takes
//! `at_once / delay` a second however many requests it is sent, which is the knee of its curve. Service times are
//! added up from the moment a place was free, not from the moment a timer fired, so that late timers do not make
//! the receiver slower than it says.

use std::collections::VecDeque;
use std::time::Duration;

pub struct Knee {
    delay: Duration,
    /// 0 is no limit.
    at_once: usize,
    /// When the requests under way are done, the earliest first. Never more than `at_once`.
    busy: VecDeque<Duration>,
    /// Nothing is answered in between.
    stall: Option<(Duration, Duration)>,
}

impl Knee {
    pub fn new(delay: Duration, at_once: usize) -> Self {
        Self { delay, at_once, busy: VecDeque::new(), stall: None }
    }

    /// Answers nothing from one moment to the other.
    pub fn stall(&mut self, from: Duration, to: Duration) {
        self.stall = Some((from, to));
    }

    /// When a request that comes now is answered. Moments are counted from any common origin.
    pub fn admit(&mut self, now: Duration) -> Duration {
        if self.at_once == 0 {
            return self.awake(now) + self.delay;
        }
        let free = if self.busy.len() < self.at_once { None } else { self.busy.pop_front() };
        let done = self.awake(now.max(free.unwrap_or_default())) + self.delay;
        self.busy.push_back(done);
        done
    }

    /// The first moment from `at` on at which the receiver does anything.
    pub fn awake(&self, at: Duration) -> Duration {
        match self.stall {
            Some((from, to)) if (from..to).contains(&at) => to,
            _ => at,
        }
    }
}
