//! What endpoints are like, and what they report: the words between the bench and the process that plays them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An endpoint that answers 204.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Endpoint {
    pub delay: Duration,
    /// Requests that are served side by side, each for `delay`; the rest queue. 0 is no limit.
    pub at_once: usize,
    pub trouble: Trouble,
}

/// What befalls an endpoint once. Moments are counted from its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    None,
    /// Takes requests and answers none of them for a time.
    Stalls {
        after: Duration,
        lasting: Duration,
    },
    /// Answers each tenth request with 503 at first. A request answered so takes as much time as any other.
    Unavailable {
        lasting: Duration,
    },
    /// Accepts no connection until it is told to recover.
    Away,
}

/// What an endpoint has got so far. Moments are microseconds since 1970: all processes of a machine have the same clock.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Taken {
    /// Messages answered with 204, each counted once.
    pub distinct: usize,
    /// Requests for a message that had been sent before and was not refused.
    pub repeated: usize,
    /// Requests answered with 503.
    pub refused: usize,
    /// When the first request came.
    pub first: Option<u64>,
    /// When the newest message was answered.
    pub last: Option<u64>,
}

/// What all endpoints have got so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub endpoints: Vec<Taken>,
    /// When endpoints that were away were told to recover.
    pub recovered: Option<u64>,
    /// When the second message was answered, half of them, and 99 %.
    pub second: u64,
    pub half: u64,
    pub nearly_all: u64,
    /// Answered by the moment at which the last trouble of an endpoint had ended.
    pub before_well: usize,
}

impl Endpoint {
    pub const fn new(millis: u64, at_once: usize) -> Self {
        Self { delay: Duration::from_millis(millis), at_once, trouble: Trouble::None }
    }

    pub const fn with(self, trouble: Trouble) -> Self {
        Self { trouble, ..self }
    }

    /// Requests a second. None if there is no limit.
    pub fn capacity(&self) -> Option<f64> {
        (self.at_once > 0).then(|| self.at_once as f64 / self.delay.as_secs_f64())
    }
}

impl Report {
    pub fn distinct(&self) -> usize {
        self.endpoints.iter().map(|endpoint| endpoint.distinct).sum()
    }

    pub fn repeated(&self) -> usize {
        self.endpoints.iter().map(|endpoint| endpoint.repeated).sum()
    }

    pub fn refused(&self) -> usize {
        self.endpoints.iter().map(|endpoint| endpoint.refused).sum()
    }

    pub fn first(&self) -> u64 {
        self.endpoints.iter().filter_map(|endpoint| endpoint.first).min().unwrap_or(0)
    }

    pub fn last(&self) -> u64 {
        self.endpoints.iter().filter_map(|endpoint| endpoint.last).max().unwrap_or(0)
    }

    /// Seconds from the first request to the last answer.
    pub fn seconds(&self) -> f64 {
        seconds(self.first(), self.last())
    }
}

/// From one moment to another, but never 0, which is divided by.
pub fn seconds(from: u64, to: u64) -> f64 {
    (to.saturating_sub(from) as f64 / 1e6).max(1e-6)
}
