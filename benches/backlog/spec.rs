//! Endpoint descriptions and reports: the protocol between the bench and the endpoint process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An endpoint that answers 204.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Endpoint {
    pub delay: Duration,
    /// Requests served at the same time, each for `delay`; the rest queue. 0 for no limit.
    pub at_once: usize,
    pub trouble: Trouble,
}

/// A single disturbance of an endpoint. Times count from its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    None,
    /// Accepts requests for a time without answering.
    Stalls {
        after: Duration,
        lasting: Duration,
    },
    /// Answers each tenth request with 503 at first. Such an answer takes as long as any other.
    Unavailable {
        lasting: Duration,
    },
    /// Accepts no connections until `/recover`.
    Away,
}

/// What one endpoint has received so far. Times are microseconds since 1970: all processes of a machine share a
/// clock.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Taken {
    /// Distinct messages answered with 204.
    pub distinct: usize,
    /// Repeated requests for a message that was not refused.
    pub repeated: usize,
    /// Requests answered with 503.
    pub refused: usize,
    /// Time of the first request.
    pub first: Option<u64>,
    /// Time of the answer to the newest message.
    pub last: Option<u64>,
}

/// What all endpoints have received so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub endpoints: Vec<Taken>,
    /// When endpoints that were away got `/recover`.
    pub recovered: Option<u64>,
    /// Times of the answers to the second message, to half of them, and to 99 %.
    pub second: u64,
    pub half: u64,
    pub nearly_all: u64,
    /// Messages answered before the last disturbance ended.
    pub before_well: usize,
}

impl Endpoint {
    pub const fn new(millis: u64, at_once: usize) -> Self {
        Self { delay: Duration::from_millis(millis), at_once, trouble: Trouble::None }
    }

    pub const fn with(self, trouble: Trouble) -> Self {
        Self { trouble, ..self }
    }

    /// Requests per second. None for no limit.
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

/// Seconds between two times. Never 0, because callers divide by it.
pub fn seconds(from: u64, to: u64) -> f64 {
    (to.saturating_sub(from) as f64 / 1e6).max(1e-6)
}
