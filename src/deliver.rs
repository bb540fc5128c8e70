//! Stage 5: messages go to their endpoints, and each call ends in one outcome.
//!
//! One lane an endpoint: a bounded queue, as many calls at once as it has workers, each worker with a
//! connection of its own. A lane's trouble stays in the lane.

mod classify;
mod conclude;
mod config;
mod connection;
mod dial;
mod failure;
mod guard;
mod health;
mod lane;
mod metrics;
mod proxy;
mod resolve;
mod retry_after;
mod route;
mod schedule;
mod shared;
mod signature;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "what a test hears of has no size")]
mod tests;
mod timer;
mod tls;
mod tokens;
mod worker;

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use self::lane::Refusal;
use self::shared::Shared;
use crate::definition::Endpoint;
use crate::id::Place;
use crate::receipt::Receipt;
use crate::render::Message;

pub use self::config::Config;
pub use self::metrics::describe_metrics;

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
    Delivered,
    /// The last try failed, or no other may follow.
    Exhausted { cause: Cause },
    /// Its event or webhook was deleted or disabled before it was delivered.
    Cancelled,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// A word of a closed set, for metrics: `status_5xx`, `timeout`, `connect`, `tls`, `refused_address` …
    pub class: &'static str,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What to read at 3 a.m. Of the URL it has scheme, host and port alone: the rest may be secret.
    pub text: String,
}

/// What becomes of finished calls: given by whoever builds the lanes, called from a lane's worker.
pub type OnFinished = Arc<dyn Fn(Call, Outcome) + Send + Sync>;

/// All lanes of an instance. Dropping it stops them, without a wait.
pub struct Lanes {
    shared: Arc<Shared>,
}

impl Lanes {
    /// Metrics go to the recorder that is installed by now.
    ///
    /// # Errors
    /// The settings contradict each other, or the certificate authorities can't be read.
    pub fn new(config: Config, on_finished: OnFinished) -> Result<Arc<Self>, String> {
        config.check()?;
        Ok(Arc::new(Self { shared: Shared::new(config, on_finished)? }))
    }

    /// Queues a call, or gives it back when its lane is full or all are stopping. Never waits. To be called
    /// in a tokio runtime.
    ///
    /// # Errors
    /// The lane takes no call now; it comes back.
    #[expect(clippy::result_large_err, reason = "the error is the call itself, which the caller has to hand on")]
    pub fn offer(&self, mut call: Call) -> Result<(), Call> {
        loop {
            let Some(lane) = self.shared.lane(endpoint(&call)) else { return Err(call) };
            match lane.push(call) {
                Ok(()) => return Ok(()),
                Err(Refusal::Full(back)) => return Err(back),
                // It has just ended for want of calls: another one takes its place.
                Err(Refusal::Closed(back)) => call = back,
            }
            self.shared.forget(&lane);
        }
    }

    /// Queues a call as soon as its lane has room; drops it unsettled when the lanes are stopping.
    pub async fn send(&self, call: Call) {
        let Err(mut call) = self.offer(call) else { return };
        while let Some(lane) = self.shared.lane(endpoint(&call)) {
            let mut room = pin!(lane.room());
            // From here on no room that becomes free is missed.
            room.as_mut().enable();
            match lane.push(call) {
                Ok(()) => return,
                Err(Refusal::Full(back)) => {
                    call = back;
                    room.await;
                }
                Err(Refusal::Closed(back)) => {
                    call = back;
                    self.shared.forget(&lane);
                }
            }
        }
    }

    /// Starts no attempt from now on; returns when the ones under way have ended. What is still queued is
    /// dropped unsettled.
    pub async fn stop(&self) {
        self.shared.stop();
        self.shared.empty().await;
    }

    /// Calls queued, waiting for a retry or under way.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

fn endpoint(call: &Call) -> &Arc<Endpoint> {
    &call.message.target.endpoints[call.message.endpoint]
}
