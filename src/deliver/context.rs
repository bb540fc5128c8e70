//! The state that all lanes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::failure_summary::FailureSummary;
use super::lane_key::LaneKey;
use super::metrics::DeliveryMetrics;
use super::overflow_reason::OverflowReason;
use super::policy::schedule::Schedule;
use super::row_order_limits::RowOrderLimits;
use super::throttle::Throttle;
use super::transport::dial::Dialer;
use super::transport::resolve::Resolver;
use super::transport::tokens::TokenCaches;
use super::workers::WorkerLimit;
use super::{Call, CallSink, Config, FailureCause, Outcome, StartError, WaitingTopics, attempt_log};
use crate::deliver::recovery::RecoveredEndpoints;
use crate::id::Line;
use crate::message_log::CallStatus;
use crate::time::since_1970;

pub(in crate::deliver) struct DeliveryContext {
    pub config: Config,
    pub dialer: Dialer,
    pub tokens: TokenCaches,
    pub schedule: Schedule,
    pub metrics: DeliveryMetrics,
    pub call_sink: Arc<dyn CallSink>,
    /// The throttle of webhooks without row order.
    pub throttle: Arc<Throttle>,
    pub row_order: RowOrderLimits,
    pub clock: Clock,
    pub recovered: RecoveredEndpoints,
    pub workers: WorkerLimit,
    in_flight: AtomicUsize,
    /// Notified when there is capacity for calls again, and when the last call in flight has left.
    freed: Notify,
    stop: CancellationToken,
}

impl DeliveryContext {
    pub fn new(config: Config, topics: WaitingTopics<'_>, onward: Arc<dyn CallSink>) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            dialer: Dialer::new(&config, Resolver::system())?,
            tokens: TokenCaches::default(),
            schedule: Schedule::new(config.retry.clone(), config.retry_after_limit, topics.tiers),
            throttle: Throttle::new(topics.overflow_partitions),
            row_order: RowOrderLimits::new(config.max_calls / 2, topics),
            metrics: DeliveryMetrics::new(),
            call_sink: onward,
            clock: Clock::default(),
            recovered: RecoveredEndpoints::default(),
            workers: WorkerLimit::for_process(config.max_connections)?,
            in_flight: AtomicUsize::new(0),
            freed: Notify::new(),
            stop: CancellationToken::new(),
            config,
        }))
    }

    /// Records that all lanes are stopping. The caller closes the lanes after it.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when all lanes are stopping.
    pub async fn wait_for_stop(&self) {
        self.stop.cancelled().await;
    }

    /// Forgets webhooks whose last used throttle slot has ended.
    pub fn forget_used_slots(&self) {
        let now = since_1970();
        self.throttle.forget_idle(now);
        self.row_order.throttle.forget_idle(now);
    }

    /// Defers a call that its lane does not take to the overflow log. A deferral is not an attempt. The call is
    /// dead-lettered instead if it has waited too long for a failing endpoint.
    pub fn defer(&self, call: Call, why: OverflowReason) {
        let trouble = match &why {
            OverflowReason::Failing(trouble) => trouble.as_ref(),
            _ => None,
        };
        let Some(mut call) = self.dead_letter_if_expired(call, trouble) else { return };
        call.deferrals = call.deferrals.saturating_add(1);
        self.metrics.count_deferred(&why);
        self.write_overflow(call, Duration::ZERO, None);
    }

    /// Dead-letters a call that is older than its retry schedule, if its endpoint has failed for that long too.
    /// Returns any other call.
    pub fn dead_letter_if_expired(&self, call: Call, trouble: Option<&FailureSummary>) -> Option<Call> {
        let Some(FailureSummary { cause, duration: lasted }) = trouble else { return Some(call) };
        let age = since_1970().saturating_sub(Duration::from_millis(u64::try_from(call.first_due_ms).unwrap_or(0)));
        if age.min(*lasted) <= self.schedule.lifetime(call.message.target.retry.as_deref()) {
            return Some(call);
        }
        self.metrics.exhausted.increment(1);
        attempt_log::log_ended_call(&*self.call_sink, &call, CallStatus::Exhausted, Some(cause));
        self.call_sink.finish(call, Outcome::Exhausted { cause: cause.clone() });
        None
    }

    /// Writes a call to the overflow log. It waits there for `wait`, or less if the endpoint works again.
    pub fn write_overflow(&self, call: Call, wait: Duration, cause: Option<&FailureCause>) {
        let line = self.line(&call);
        self.call_sink.write_overflow(call, line, wait, cause);
    }

    /// The line of the overflow log in which a call waits.
    pub fn line(&self, call: &Call) -> Line {
        LaneKey::of(call).line()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub fn add_in_flight(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.metrics.in_flight.increment(1.0);
    }

    pub fn remove_in_flight(&self) {
        self.metrics.in_flight.decrement(1.0);
        let left = self.in_flight.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == 0 || left + 1 == self.config.max_calls {
            self.freed.notify_waiters();
        }
    }

    /// Resolves when there is capacity for another call, in any lane.
    pub async fn capacity(&self) {
        self.wait_until(|in_flight| in_flight < self.config.max_calls).await;
    }

    /// Resolves when no call is in flight.
    pub async fn wait_until_empty(&self) {
        self.wait_until(|in_flight| in_flight == 0).await;
    }

    async fn wait_until(&self, holds: impl Fn(usize) -> bool) {
        while !holds(self.in_flight()) {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if holds(self.in_flight()) {
                return;
            }
            freed.await;
        }
    }
}
