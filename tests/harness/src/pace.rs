//! Whether more calls came in a second than may come.
//!
//! What decides is when calls were signed, which their instances do as they send them, and say to the second: machines as
//! busy as these, where brokers, instances and the receiver share few cores, hold calls up on their way for most of a
//! second. By two calls a second each has a slot of 525 ms and goes out up to 25 ms late, so that no second of the clock
//! has three; but when slots are used twice, some have. When calls arrived is told beside it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::Request;

/// When calls came to a path that may have only so many in a second.
pub struct Pace {
    calls_a_second: usize,
    arrivals: Vec<Instant>,
    /// How many calls were signed in each second.
    signed: HashMap<String, usize>,
}

/// What was seen of a pace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    pub calls_a_second: usize,
    pub calls: usize,
    /// How many came in the fullest second, held up or not.
    pub fullest_second: usize,
    /// How many were signed in the fullest second by the clock.
    pub fullest_signed: usize,
    /// The shortest time that brought one call more than a second may.
    pub one_more_within: Option<Duration>,
}

impl Pace {
    pub fn new(calls_a_second: usize) -> Self {
        Self { calls_a_second, arrivals: Vec::new(), signed: HashMap::new() }
    }

    /// Every attempt counts, whatever it is answered.
    pub fn arrived(&mut self, request: &Request) {
        self.arrivals.push(request.at);
        let signed = request.headers.get("webhook-timestamp").and_then(|time| time.to_str().ok()).unwrap_or_default();
        *self.signed.entry(signed.to_owned()).or_default() += 1;
    }

    pub fn seen(&self, path: &str) -> Seen {
        let Self { calls_a_second, .. } = *self;
        let mut arrivals = self.arrivals.clone();
        arrivals.sort();
        let within_a_second = |(from, at): (usize, &Instant)| {
            arrivals[from..].partition_point(|other| *other - *at < Duration::from_secs(1))
        };
        let took = |calls: &[Instant]| calls[calls_a_second] - calls[0];
        Seen {
            path: path.to_owned(),
            calls_a_second,
            calls: arrivals.len(),
            fullest_second: arrivals.iter().enumerate().map(within_a_second).max().unwrap_or(0),
            fullest_signed: self.signed.values().copied().max().unwrap_or(0),
            one_more_within: arrivals.windows(calls_a_second + 1).map(took).min(),
        }
    }
}

impl Seen {
    pub fn is_too_fast(&self) -> bool {
        self.fullest_signed > self.calls_a_second
    }

    /// Whether calls ever came as fast as they may: a pace that nothing presses for shows nothing.
    pub fn is_full(&self) -> bool {
        self.fullest_signed >= self.calls_a_second
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, calls_a_second, calls, fullest_second, fullest_signed, one_more_within } = self;
        write!(
            f,
            "{path}: {calls} calls, {calls_a_second} a second allowed, {fullest_second} in the fullest second, "
        )?;
        write!(f, "{fullest_signed} signed in one, {} within {one_more_within:.3?} at least", calls_a_second + 1)
    }
}
