//! Stage 5: messages go to their endpoints, and each call ends in one outcome.
//!
//! One lane an endpoint: a bounded queue, as many calls at once as it has workers, each worker with a
//! connection of its own. A lane's trouble stays in the lane.

mod classify;
mod client;
mod config;
mod guard;
mod lane;
mod schedule;
mod signature;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::Place;
use crate::receipt::Receipt;
use crate::render::Message;

pub use self::config::Config;

/// One message on its way to one URL.
pub struct Call {
    pub message: Message,
    /// Where its record stands, for logs and dead letters.
    pub place: Place,
    /// The record's Kafka timestamp, milliseconds since 1970: the start of the latency from append to 2xx.
    pub appended_ms: i64,
    pub receipt: Receipt,
    /// Attempts made so far.
    pub attempts: u32,
    /// When it was handed to its lane first.
    pub offered: Instant,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx answer.
    Delivered { status: u16, took: Duration },
    /// The last try failed, or no other may follow.
    Exhausted { cause: Cause },
    /// It may no longer be sent.
    Cancelled,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// A short closed word for metrics: `status_5xx`, `timeout`, `connect`, `tls`, `refused_address` …
    pub class: &'static str,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What to read at 3 a.m.; holds no secret.
    pub text: String,
}

/// What becomes of finished calls: given by whoever builds the lanes, called from a lane's worker.
pub type OnFinished = Arc<dyn Fn(Call, Outcome) + Send + Sync>;

/// All lanes of an instance.
pub struct Lanes {}

impl Lanes {
    /// # Errors
    /// The TLS roots can't be read.
    pub fn new(_config: Config, _on_finished: OnFinished) -> Result<Arc<Self>, String> {
        todo!()
    }

    /// Queues a call, or gives it back when its lane is full. Never waits.
    ///
    /// # Errors
    /// The lane is full; the call comes back.
    pub fn offer(&self, _call: Call) -> Result<(), Call> {
        todo!()
    }

    /// Queues a call as soon as its lane has room.
    pub async fn send(&self, _call: Call) {
        todo!()
    }

    /// Starts no attempt from now on; returns when the ones under way have ended. What is still queued is
    /// dropped unsettled.
    pub async fn stop(&self) {
        todo!()
    }

    /// Calls queued, waiting for a retry or under way.
    pub fn in_flight(&self) -> usize {
        todo!()
    }
}
