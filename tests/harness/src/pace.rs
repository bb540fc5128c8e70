//! Checks that a throttled webhook sends no more calls in a second than allowed.
//!
//! The check counts the times of signing. Instances sign a call when they send it, with a timestamp in whole seconds.
//! Arrival times are only reported: on a busy machine, where brokers, instances and the receiver share few cores, a
//! call can arrive most of a second late.
//!
//! At two calls a second, each call has a slot of 525 ms and is sent up to 25 ms late. No clock second therefore has
//! three calls, except when slots are used twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::Request;

/// Times of the calls to a path with a limit of calls per second.
pub struct Pace {
    calls_a_second: usize,
    arrivals: Vec<Instant>,
    /// The number of calls signed in each second.
    signed: HashMap<String, usize>,
}

/// The measured pace of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    pub calls_a_second: usize,
    pub calls: usize,
    /// Arrivals in the fullest period of one second, delayed ones included.
    pub fullest_second: usize,
    /// Calls signed in the fullest clock second.
    pub fullest_signed: usize,
    /// The shortest time in which one call more than the limit arrived.
    pub one_more_within: Option<Duration>,
}

impl Pace {
    pub fn new(calls_a_second: usize) -> Self {
        Self { calls_a_second, arrivals: Vec::new(), signed: HashMap::new() }
    }

    /// Counts a request. Every attempt counts, whatever its response.
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

    /// Whether calls reached the limit. A test below the limit shows nothing.
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
