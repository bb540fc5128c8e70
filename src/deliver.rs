//! Stage 5: sends calls to endpoints. Each call ends in one outcome.
//!
//! Each endpoint has one lane: a bounded queue, a concurrency limit that adapts to the endpoint, and workers with one
//! connection each. A failing endpoint affects only its own lane: calls that the lane can't take now are deferred to
//! the overflow log, where they hold no memory.

mod attempt_log;
mod clock;
mod config;
mod context;
mod failure_summary;
mod health;
mod lane;
mod lane_key;
mod metrics;
mod overflow_reason;
mod policy;
mod recovery;
mod redact;
mod row_order_limits;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the channels of a test are unbounded")]
mod tests;
mod throttle;
mod timer;
mod transport;
mod workers;
mod write_count;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{interval, timeout};

use self::context::DeliveryContext;
use self::lane::{LaneMap, Refusal};
use self::overflow_reason::OverflowReason;
use crate::definition::Endpoint;
use crate::id::{Line, RecordPosition, RowKey};
use crate::message_log::{CallStatus, LogEntry};
use crate::receipt::Receipt;
use crate::render::Message;
use crate::time::since_1970;

pub use self::config::{Config, DeliverySettingsError, durations};
pub use self::lane::{LaneStatus, Takes};
pub use self::lane_key::line_of;
pub use self::metrics::describe_metrics;
pub use self::policy::breaker::BreakerPhase;
pub use self::throttle::SlotLease;
pub use self::transport::tls::TlsSettingsError;
pub use self::workers::OpenFilesError;
pub use self::write_count::WriteCount;
pub use crate::deliver::recovery::Recovery;

/// Checks that the certificate authorities can be loaded, so that calls can be made.
///
/// # Errors
/// When they can't be loaded. The text names the setting, its value and the fix.
pub fn check_certificate_authorities(config: &Config) -> Result<(), TlsSettingsError> {
    transport::tls::TlsConnectors::new(config).map(drop)
}

/// Why delivery can't start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum StartError {
    Setting(#[from] DeliverySettingsError),
    Tls(#[from] TlsSettingsError),
    OpenFiles(#[from] OpenFilesError),
}

/// One message to one URL.
pub struct Call {
    pub message: Message,
    /// The source record, for logs and dead letters.
    pub source_position: RecordPosition,
    /// The record's Kafka timestamp, milliseconds since 1970: the start of the latency from append to 2xx.
    pub appended_ms: i64,
    pub receipt: Receipt,
    /// Attempts made so far.
    pub attempts: u32,
    /// How often the call was deferred. A deferral is not an attempt.
    pub deferrals: u32,
    /// The call was read from the overflow log, where it can continue to wait.
    pub from_overflow: bool,
    /// When the call was first due to be sent, milliseconds since 1970.
    pub first_due_ms: i64,
    pub write_count: WriteCount,
    /// The row that the call is about, if its webhook uses row order. The call is sent after all earlier calls about
    /// this row.
    pub row_key: Option<RowKey>,
}

/// Approximate memory of a call in addition to its body, in bytes. Most of it is used while the call is written to a
/// retry topic.
pub const CALL_BYTES: usize = 4096;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx response.
    Delivered,
    /// The last attempt failed, or no further attempt is allowed.
    Exhausted { cause: FailureCause },
    /// The event or webhook was deleted or disabled before the call was delivered.
    Cancelled,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureCause {
    /// One of a closed set, for metrics: `status_5xx`, `timeout`, `connect`, `tls`, `refused_address` …
    pub class: &'static str,
    /// The HTTP status, if there was a response.
    pub status: Option<u16>,
    /// Text for operators. It contains only scheme, host and port of the URL: the rest may be secret.
    pub text: String,
}

/// Receives the calls that leave their lanes. The methods are called by a lane's worker, so they must not block.
pub trait CallSink: Send + Sync {
    /// The call has ended.
    fn finish(&self, call: Call, outcome: Outcome);

    /// Writes the call to a retry topic until `wait` has passed. The call must outlast this process. `cause` is why
    /// its last attempt failed, if one was made.
    fn write_retry(&self, call: Call, wait: Duration, cause: Option<&FailureCause>);

    /// Writes the call to the overflow log, in this line. It waits there until the endpoint works and has a place, or
    /// at most until `wait` has passed. Otherwise like [`Self::write_retry`].
    fn write_overflow(&self, call: Call, line: Line, wait: Duration, cause: Option<&FailureCause>);

    /// Reports an event at the endpoint of this call that operators should know.
    fn report_endpoint_event(&self, call: &Call, endpoint: &str, news: &EndpointEvent<'_>);

    /// Max bytes of the response body that the message log keeps for an attempt, by status and attempt count. None if
    /// the message log wants no entry, so that none is prepared.
    fn logged_body_limit(&self, status: CallStatus, attempts: u32) -> Option<usize>;

    /// An attempt has ended, or a call has ended without one.
    fn log(&self, entry: LogEntry);
}

/// An event at an endpoint that operators should know.
#[derive(Debug, Clone, Copy)]
pub enum EndpointEvent<'n> {
    /// The endpoint has begun to fail.
    Failing(&'n FailureCause),
    /// The endpoint works again, after this number of failed attempts in this time.
    Recovered { failures: u64, lasted: Duration },
    /// A call was dead-lettered.
    Exhausted(&'n FailureCause),
    /// The endpoint answered 410, so its webhook is stopped.
    Gone(&'n FailureCause),
}

/// Properties of the retry, overflow and row-order topics that lanes need.
#[derive(Debug, Clone, Copy)]
pub struct WaitingTopics<'t> {
    /// Delays of the retry topics, the shortest first. A call whose wait is shorter than the first one waits in
    /// memory.
    pub tiers: &'t [Duration],
    /// Partitions of the overflow log.
    pub overflow_partitions: usize,
    /// Partitions of the row-order topic.
    pub row_order_partitions: usize,
    /// Max bytes in memory of calls in row order, over all lanes.
    pub row_order_bytes: usize,
}

/// Interval at which lanes that have calls are checked for expired calls.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(250);

/// Interval at which failing endpoints and calls that wait in memory are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which idle remembered lanes and tokens of old definitions are removed.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(60);

/// Max time of one wait for a full lane, before the call is offered to it again.
const FULL_LANE_WAIT: Duration = Duration::from_millis(20);

/// All lanes of an instance. Dropping it stops them without waiting for attempts under way.
pub struct Lanes {
    context: Arc<DeliveryContext>,
    lane_map: Arc<LaneMap>,
}

impl Lanes {
    /// Creates the lanes, with metrics in the recorder that is installed now. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the settings contradict each other, the certificate authorities can't be read, or the process may open
    /// too few files.
    pub fn new(config: Config, topics: WaitingTopics<'_>, onward: Arc<dyn CallSink>) -> Result<Arc<Self>, StartError> {
        config.check()?;
        let shared = DeliveryContext::new(config, topics, onward)?;
        let map = LaneMap::new(shared.clone());
        let timed = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(shared) = timed.upgrade().filter(|shared| !shared.is_stopping()) {
                shared.clock.step().await;
            }
        });
        let weak_map = Arc::downgrade(&map);
        tokio::spawn(async move {
            let (mut maintenance, mut counts, mut removals) =
                (interval(MAINTENANCE_INTERVAL), interval(COUNT_INTERVAL), interval(REMOVAL_INTERVAL));
            loop {
                let act = tokio::select! {
                    _ = maintenance.tick() => LaneMap::maintain,
                    _ = counts.tick() => LaneMap::count,
                    _ = removals.tick() => |map: &LaneMap| {
                        map.end_remembered();
                        map.shared.tokens.drop_unused();
                    },
                };
                let Some(map) = weak_map.upgrade().filter(|map| !map.shared.is_stopping()) else { return };
                act(&map);
            }
        });
        Ok(Arc::new(Self { context: shared, lane_map: map }))
    }

    /// Queues a call. Waits while too many calls are in memory over all endpoints. Waits for a full lane only while
    /// that delays no other endpoint; otherwise the call is deferred to the overflow log.
    ///
    /// A call in row order is queued behind all earlier calls of its row. It waits for a full lane as long as the
    /// endpoint works; otherwise it is dead-lettered. Drops the call unsettled when the lanes are stopping.
    pub async fn send(&self, mut call: Call) {
        self.context.capacity().await;
        while let Some(lane) = self.lane_map.lane(&call) {
            let back = match lane.push(call) {
                Ok(()) => return,
                Err(Refusal::Full(back)) => self.send_when_freed(&lane, back).await,
                Err(refusal) => self.handle_refusal(&lane, refusal),
            };
            match back {
                Some(back) => call = back,
                None => return,
            }
        }
    }

    /// Queues a call in a lane that was just full, or returns it once there may be a place.
    async fn send_when_freed(&self, lane: &Arc<lane::Lane>, call: Call) -> Option<Call> {
        let mut freed = pin!(lane.space_freed());
        // From here on, no notification of a free place is missed.
        freed.as_mut().enable();
        match lane.push(call) {
            Ok(()) => None,
            Err(Refusal::Full(back)) => {
                let _ = timeout(FULL_LANE_WAIT, freed).await;
                Some(back)
            }
            Err(refusal) => self.handle_refusal(lane, refusal),
        }
    }

    /// Queues a call from a retry topic. A call that its lane does not take is deferred to the overflow log.
    pub async fn send_retried(&self, mut call: Call) {
        self.context.capacity().await;
        while let Some(lane) = self.lane_map.lane(&call) {
            let Err(refusal) = lane.push(call) else { return };
            match self.handle_refusal(&lane, refusal) {
                Some(back) => call = back,
                None => return,
            }
        }
    }

    /// Queues a call from the overflow log, or returns it to continue to wait there.
    ///
    /// # Errors
    /// The call, when its lane has no place for it.
    pub fn offer(&self, mut call: Call) -> Result<(), Box<Call>> {
        while let Some(lane) = self.lane_map.lane(&call) {
            self.lane_map.claim_line(&lane);
            match lane.push(call) {
                Ok(()) => return Ok(()),
                Err(Refusal::Closed(back)) => {
                    self.lane_map.forget(&lane);
                    call = back;
                }
                Err(refusal) => return Err(refusal.into_call().into()),
            }
        }
        Err(call.into())
    }

    /// The line of the overflow log in which a call waits, by the current settings of its webhook.
    pub fn line(&self, call: &Call) -> Line {
        self.context.line(call)
    }

    /// Dead-letters a call from the overflow log if its endpoint has failed for longer than the call's retry schedule
    /// lasts. Returns any other call.
    pub fn dead_letter_if_expired(&self, call: Call) -> Option<Box<Call>> {
        let trouble = self.lane_map.known_lane(&call).and_then(|lane| lane.trouble());
        self.context.dead_letter_if_expired(call, trouble.as_ref()).map(Box::new)
    }

    /// How many calls that wait in a line of the overflow log may be offered now.
    pub fn takes(&self, line: Line) -> Takes {
        let takes = self.lane_map.takes(line);
        let has_room = self.context.in_flight() < self.context.config.max_calls;
        Takes { calls: if has_room { takes.calls } else { 0 }, ..takes }
    }

    /// The status of each lane that has calls, or whose endpoint failed less than an hour ago.
    pub fn statuses(&self) -> Vec<LaneStatus> {
        self.lane_map.statuses()
    }

    /// Lets the next call of a line pass to its endpoint, although its breaker is open.
    pub fn probe_now(&self, line: Line) {
        self.lane_map.probe_now(line);
    }

    /// Takes the endpoints that have recovered since the previous call of this method.
    pub fn take_recovered(&self) -> Vec<Recovery> {
        self.context.recovered.take()
    }

    /// Registers a partition of the overflow log as owned by this instance, and with it a share of the calls of
    /// throttled webhooks. The share lasts as long as the returned lease.
    pub fn lease_slots(&self, partition: i32) -> SlotLease {
        self.context.throttle.acquire_partition(partition, since_1970())
    }

    /// Registers a partition of the row-order topic, for throttled webhooks with row order. Otherwise like
    /// [`Self::lease_slots`].
    pub fn lease_row_order_slots(&self, partition: i32) -> SlotLease {
        self.context.row_order.throttle.acquire_partition(partition, since_1970())
    }

    /// Returns a call that another lane may take. Defers or dead-letters any other.
    fn handle_refusal(&self, lane: &Arc<lane::Lane>, refusal: Refusal) -> Option<Call> {
        match refusal {
            Refusal::Closed(call) => {
                // The lane has just ended because it had no calls: a new one replaces it.
                self.lane_map.forget(lane);
                return Some(call);
            }
            Refusal::Full(call) | Refusal::Slow(call) => self.context.defer(call, OverflowReason::Full),
            Refusal::Failing(call, trouble) => self.context.defer(call, OverflowReason::Failing(trouble)),
            Refusal::DeadLetter(call, cause) => lane.dead_letter(call, cause),
        }
        None
    }

    /// Starts no further attempt. Returns when the attempts under way have ended. Calls that are still queued are
    /// dropped unsettled.
    pub async fn stop(&self) {
        self.lane_map.stop();
        self.context.wait_until_empty().await;
    }

    /// Calls in memory: queued, waiting for a retry or under way.
    pub fn in_flight(&self) -> usize {
        self.context.in_flight()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.lane_map.stop();
    }
}

impl Call {
    /// The row that the call is about. A call without row order is alone in its row.
    fn row(&self) -> RowKey {
        self.row_key.unwrap_or_else(|| RowKey::for_call(self.message.call_id))
    }
}

fn endpoint(call: &Call) -> &Arc<Endpoint> {
    &call.message.target.endpoints[call.message.endpoint]
}
