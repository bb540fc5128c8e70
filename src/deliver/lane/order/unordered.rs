//! Lanes without an order: a call that the lane can't take or keep waits in the overflow log or a retry topic.

use std::sync::Arc;
use std::time::Duration;

use super::SendOrder;
use crate::deliver::context::DeliveryContext;
use crate::deliver::lane::{Lane, LaneSlot, LaneState, Observation, QueuedCall, Refusal, Wake};
use crate::deliver::overflow_reason::OverflowReason;
use crate::deliver::policy::schedule::NextAttempt;
use crate::deliver::throttle::Throttle;
use crate::deliver::{Call, Config, FailureCause};

pub(super) struct Unordered;

impl SendOrder for Unordered {
    fn breaker_failures(&self, config: &Config) -> u32 {
        config.breaker_failures
    }

    fn throttle<'c>(&self, context: &'c DeliveryContext) -> &'c Throttle {
        &context.throttle
    }

    fn admit(
        &self,
        state: &mut LaneState,
        call: Call,
        context: &DeliveryContext,
        now: Duration,
    ) -> Result<Call, Refusal> {
        let places = state.places(&context.config, now, call.from_overflow);
        let is_full = state.calls >= places || state.bytes >= context.config.queue_bytes;
        if state.breaker.is_open() && !state.breaker.is_probe_due(now) {
            return Err(Refusal::Failing(call, state.trouble(now)));
        }
        // The endpoint decides how long its calls hold memory, so they must not take the memory of others.
        if call.receipt.exceeds_fair_share(state.bytes) {
            return Err(if call.from_overflow { Refusal::Full(call) } else { Refusal::Slow(call) });
        }
        if is_full {
            let is_slow = !call.from_overflow && state.is_slow(places, context, now);
            return Err(if is_slow { Refusal::Slow(call) } else { Refusal::Full(call) });
        }
        if !state.breaker.try_admit(now) {
            return Err(Refusal::Failing(call, state.trouble(now)));
        }
        Ok(call)
    }

    fn enqueue(&self, state: &mut LaneState, queued: QueuedCall, context: &DeliveryContext) -> Wake {
        state.enqueue(queued, &context.workers)
    }

    fn leave(&self, _: &mut LaneState, _: &LaneSlot, _: &DeliveryContext) -> Option<QueuedCall> {
        None
    }

    fn is_sent_elsewhere(&self, _: &Call) -> bool {
        false
    }

    /// A deferral is not an attempt.
    fn lost_throttle_slots(&self, context: &DeliveryContext, queued: QueuedCall) {
        context.defer(queued.into_call(), OverflowReason::NoShare);
    }

    fn delivered(&self, _: &Lane, _: &QueuedCall) {}

    fn failure(&self, observation: Observation, _: &FailureCause) -> Observation {
        observation
    }

    fn next_after_failure(
        &self,
        _: &Lane,
        _: &QueuedCall,
        _: Duration,
        next: NextAttempt,
        cause: FailureCause,
    ) -> (NextAttempt, FailureCause) {
        (next, cause)
    }

    fn wait_step(&self, left: Duration) -> Duration {
        left
    }

    fn ends_wait(&self, _: &Call) -> bool {
        false
    }

    /// Puts the calls of draining partitions back, and defers the calls that have been queued for too long.
    fn maintain(&self, lane: &Arc<Lane>) {
        lane.put_back();
        let (throttle, queue_wait) = (&lane.shared.throttle, lane.shared.config.queue_wait);
        let may_wait = match lane.throttling() {
            // Without a share, no slot will come here.
            Some(_) if throttle.has_no_slots() => Duration::ZERO,
            // The next slot may be further away than `queue_wait`. Without this, no call would ever be queued when
            // the slot comes.
            Some(calls) => queue_wait.max(throttle.mean_slot_interval(calls) * 2),
            None => queue_wait,
        };
        let latest = lane.created.elapsed().saturating_sub(may_wait);
        // A call from the overflow log keeps no source record open, and is not written to the log again.
        let expired = lane.drain_queue(|queued| queued.queued_at < latest && !queued.call.from_overflow);
        expired.into_iter().for_each(|queued| lane.shared.defer(queued.into_call(), OverflowReason::QueuedTooLong));
    }
}
