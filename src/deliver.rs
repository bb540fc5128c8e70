//! Stage 5: messages go to their endpoints, and each call ends in one outcome.
//!
//! One lane an endpoint: a bounded queue, as many calls at once as the endpoint takes well, each worker with a
//! connection of its own. A lane's trouble stays in the lane: what it can't take now goes to wait in a retry
//! topic, where it costs nothing.

mod attempt_log;
mod clock;
mod config;
mod context;
mod health;
mod lane;
mod metrics;
mod policy;
mod recovered;
mod redact;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "what a test hears of has no size")]
mod tests;
mod throttle;
mod timer;
mod transport;
mod workers;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{interval, timeout};

use self::context::{DeliveryContext, OverflowReason};
use self::lane::Refusal;
use crate::definition::Endpoint;
use crate::id::{Line, Place, RowKey, WriteCount};
use crate::message_log::{CallStatus, LogEntry};
use crate::receipt::Receipt;
use crate::render::Message;

pub use self::config::Config;
pub use self::context::line_of;
pub use self::lane::{LaneStatus, Takes};
pub use self::metrics::describe_metrics;
pub use self::policy::breaker::Phase;
pub use self::recovered::Recovery;
pub use self::throttle::SlotLease;

/// Whether calls can be made here: the certificate authorities are there.
///
/// # Errors
/// A sentence that names the setting, its value and the mend.
pub fn try_out(config: &Config) -> Result<(), String> {
    transport::tls::TlsConnectors::new(config).map(drop)
}

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
    /// How often its lane did not take it, which is no attempt.
    pub deferrals: u32,
    /// It was read from the overflow log, where it can go on waiting.
    pub from_overflow: bool,
    /// When it was first meant to go out, milliseconds since 1970.
    pub offered_ms: i64,
    pub step: WriteCount,
    /// The row that it is about, if its webhook wants row order: it goes out after all before it about the same row.
    pub row: Option<RowKey>,
}

/// What a call takes in memory beside its body, in bytes, roughly: most while it is written to a retry topic.
pub const CALL_BYTES: usize = 4096;

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

/// Where calls go that their lanes are done with. It is told by a lane's worker, so it must not wait.
pub trait CallSink: Send + Sync {
    /// The call has ended.
    fn finished(&self, call: Call, outcome: Outcome);

    /// The call is to come again after a while, and has to outlast this process until then. `cause` is why its
    /// last attempt failed, if one was made.
    fn wait(&self, call: Call, wait: Duration, cause: Option<&Cause>);

    /// The call is to wait for its endpoint, in this line of calls that do, until the endpoint works and has a place, or in
    /// any case until so much time has passed. Otherwise as above.
    fn overflow(&self, call: Call, line: Line, wait: Duration, cause: Option<&Cause>);

    /// Something has happened that operators should know, at the endpoint of this call.
    fn tell(&self, call: &Call, endpoint: &str, news: &EndpointEvent<'_>);

    /// How many bytes of its answer the message log wants of an attempt, by how the call stands after so many; None
    /// if it wants to hear nothing of it, so that nothing is made ready.
    fn logs(&self, status: CallStatus, attempts: u32) -> Option<usize>;

    /// An attempt is over, or a call has ended without one.
    fn log(&self, entry: LogEntry);
}

/// What operators should know of an endpoint.
#[derive(Debug, Clone, Copy)]
pub enum EndpointEvent<'n> {
    /// It has begun to fail.
    Failing(&'n Cause),
    /// It works again, after so many failed attempts in this time.
    Recovered { failures: u64, lasted: Duration },
    /// A call was given up.
    Exhausted(&'n Cause),
    /// Its receiver wants nothing any more (410), so the webhook stops.
    Gone(&'n Cause),
}

/// What lanes have to know of the retry topics.
#[derive(Debug, Clone, Copy)]
pub struct Retries<'t> {
    /// Their delays, the shortest first: a wait that is shorter than that is spent in memory.
    pub tiers: &'t [Duration],
    /// How many partitions the overflow log has.
    pub overflow_partitions: usize,
    /// How many partitions the topic of row order has.
    pub row_order_partitions: usize,
    /// How many bytes calls in row order may take in memory, over all lanes.
    pub row_order_bytes: usize,
}

/// How often lanes that have calls are looked after.
const LOOK: Duration = Duration::from_millis(250);

/// How often endpoints that fail, and calls that wait in memory, are counted.
const COUNT: Duration = Duration::from_secs(1);

/// How often lanes are looked at that are only remembered.
const REVIEW: Duration = Duration::from_secs(60);

/// How long a full lane is waited for at once, before it is looked at again.
const PATIENCE: Duration = Duration::from_millis(20);

/// All lanes of an instance. Dropping it stops them, without a wait.
pub struct Lanes {
    shared: Arc<DeliveryContext>,
}

impl Lanes {
    /// Metrics go to the recorder that is installed by now. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The settings contradict each other, or the certificate authorities can't be read.
    pub fn new(config: Config, retries: Retries<'_>, onward: Arc<dyn CallSink>) -> Result<Arc<Self>, String> {
        config.check()?;
        let shared = DeliveryContext::new(config, retries, onward)?;
        let timed = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(shared) = timed.upgrade().filter(|shared| !shared.is_stopping()) {
                shared.clock.step().await;
            }
        });
        let looked_after = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let (mut looks, mut counts, mut reviews) = (interval(LOOK), interval(COUNT), interval(REVIEW));
            loop {
                let act = tokio::select! {
                    _ = looks.tick() => DeliveryContext::expire,
                    _ = counts.tick() => DeliveryContext::count,
                    _ = reviews.tick() => DeliveryContext::end_remembered,
                };
                let Some(shared) = looked_after.upgrade().filter(|shared| !shared.is_stopping()) else { return };
                act(&shared);
            }
        });
        Ok(Arc::new(Self { shared }))
    }

    /// Queues a call. Waits while there are too many of them over all endpoints, and for a full lane only as long as
    /// that keeps no other waiting: otherwise the call goes to wait in the overflow log. One in row order is queued behind all others of its
    /// row, and waits for a full lane as long as its endpoint works: otherwise it is given up. Drops it unsettled when the
    /// lanes are stopping.
    pub async fn send(&self, mut call: Call) {
        self.shared.room().await;
        while let Some(lane) = self.shared.lane(&call) {
            let back = match lane.push(call) {
                Ok(()) => return,
                Err(Refusal::Full(back)) => self.send_when_roomy(&lane, back).await,
                Err(refusal) => self.refused(&lane, refusal),
            };
            match back {
                Some(back) => call = back,
                None => return,
            }
        }
    }

    /// Queues a call in a lane that was full just now, or gives it back once there may be room.
    async fn send_when_roomy(&self, lane: &Arc<lane::Lane>, call: Call) -> Option<Call> {
        let mut room = pin!(lane.room());
        // From here on no room that becomes free is missed.
        room.as_mut().enable();
        match lane.push(call) {
            Ok(()) => None,
            Err(Refusal::Full(back)) => {
                let _ = timeout(PATIENCE, room).await;
                Some(back)
            }
            Err(refusal) => self.refused(lane, refusal),
        }
    }

    /// Queues a call that has waited in a retry topic; what a lane does not take goes to wait in the overflow log.
    pub async fn resume(&self, mut call: Call) {
        self.shared.room().await;
        while let Some(lane) = self.shared.lane(&call) {
            let Err(refusal) = lane.push(call) else { return };
            match self.refused(&lane, refusal) {
                Some(back) => call = back,
                None => return,
            }
        }
    }

    /// Queues a call that waits in the overflow log, or gives it back to go on waiting there.
    ///
    /// # Errors
    /// The call, if its lane has no place for it.
    pub fn offer(&self, mut call: Call) -> Result<(), Box<Call>> {
        while let Some(lane) = self.shared.lane(&call) {
            self.shared.is_of_its_line(&lane);
            match lane.push(call) {
                Ok(()) => return Ok(()),
                Err(Refusal::Closed(back)) => {
                    self.shared.forget(&lane);
                    call = back;
                }
                Err(
                    Refusal::Failing(back, _)
                    | Refusal::Full(back)
                    | Refusal::Slow(back)
                    | Refusal::Behind { call: back, .. },
                ) => return Err(back.into()),
            }
        }
        Err(call.into())
    }

    /// The line of the overflow log in which a call waits, as its webhook is now.
    pub fn line(&self, call: &Call) -> Line {
        self.shared.line(call)
    }

    /// Gives a call up that has waited in the overflow log for longer than its endpoint is waited for; gives back any
    /// other.
    pub fn review(&self, call: Call) -> Option<Box<Call>> {
        let trouble = self.shared.known_lane(&call).and_then(|lane| lane.trouble());
        self.shared.given_up(call, trouble.as_ref()).map(Box::new)
    }

    /// How many of the calls that wait in a line of the overflow log may be offered now.
    pub fn takes(&self, line: Line) -> Takes {
        let takes = self.shared.takes(line);
        let has_room = self.shared.in_flight() < self.shared.config.max_calls;
        Takes { calls: if has_room { takes.calls } else { 0 }, ..takes }
    }

    /// How each endpoint's lane stands that has calls, or whose endpoint failed less than an hour ago.
    pub fn statuses(&self) -> Vec<LaneStatus> {
        self.shared.statuses()
    }

    /// Lets the next call of a line pass to its endpoint, although its breaker is open.
    pub fn probe_now(&self, line: Line) {
        self.shared.probe_now(line);
    }

    /// The endpoints that have come to work again since the last call of this.
    pub fn take_recovered(&self) -> Vec<Recovery> {
        self.shared.recovered.take()
    }

    /// This instance owns a partition of the overflow log, and with it a share of the calls of webhooks that may
    /// make only so many a second, for as long as what is returned lives.
    pub fn own(&self, partition: i32) -> SlotLease {
        self.shared.throttle.own(partition, now())
    }

    /// The same of a partition of the topic of row order, and of webhooks that want it.
    pub fn own_in_order(&self, partition: i32) -> SlotLease {
        self.shared.row_order_throttle.own(partition, now())
    }

    /// Gives back a call that another lane may take; sends any other to wait.
    fn refused(&self, lane: &Arc<lane::Lane>, refusal: Refusal) -> Option<Call> {
        match refusal {
            Refusal::Closed(call) => {
                // It has just ended for want of calls: another one takes its place.
                self.shared.forget(lane);
                return Some(call);
            }
            Refusal::Full(call) | Refusal::Slow(call) => self.shared.defer(call, OverflowReason::Full),
            Refusal::Failing(call, trouble) => self.shared.defer(call, OverflowReason::Failing(trouble)),
            Refusal::Behind { call, waiting, trouble } => lane::ordered::turned_away(lane, call, waiting, &trouble),
        }
        None
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

/// The time since 1970.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// A number for the jitter. A call's id is a hash, so its bits are as good as random, and other ones serve
/// each try.
fn random(call: &Call) -> u32 {
    (call.message.call.0.as_u128() >> ((call.attempts + call.deferrals) * 5 % 24)) as u32
}
