//! Lanes in row order: a row has one call at a time. Calls wait in memory for a place, and the head of a row for its
//! next attempt, because a retry topic would lose their places. A call that can't wait in memory is dead-lettered.

use std::sync::Arc;
use std::time::Duration;

use super::SendOrder;
use crate::deliver::context::DeliveryContext;
use crate::deliver::lane::admission::MIN_PLACES;
use crate::deliver::lane::{Lane, LaneSlot, LaneState, Observation, QueuedCall, Refusal, Wake};
use crate::deliver::policy::schedule::NextAttempt;
use crate::deliver::throttle::Throttle;
use crate::deliver::{Call, Config, FailureCause};
use crate::id::RowKey;

/// Divisor of `order_patience`: for this part of it, an endpoint may fail before calls without a place are
/// dead-lettered. So calls wait for a receiver that restarts.
const BLIP: u32 = 20;

/// Class of the dead letter of a call that found no place behind others, while the endpoint failed.
const CLASS: &str = "row_order";

/// Interval at which a waiting head is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct ByRow;

impl SendOrder for ByRow {
    /// A call that the breaker turned away would have no other place to wait.
    fn breaker_failures(&self, _: &Config) -> u32 {
        0
    }

    fn throttle<'c>(&self, context: &'c DeliveryContext) -> &'c Throttle {
        &context.row_order.throttle
    }

    fn admit(
        &self,
        state: &mut LaneState,
        call: Call,
        context: &DeliveryContext,
        now: Duration,
    ) -> Result<Call, Refusal> {
        let config = &context.config;
        let is_full = state.calls >= state.places(config, now, call.from_overflow)
            || state.bytes >= config.queue_bytes
            // Each lane keeps some places, so that lanes of working endpoints make progress when others have used up
            // the rest.
            || (state.calls >= MIN_PLACES && context.row_order.memory.is_reached());
        let row = call.row();
        if is_full || state.rows.behind(row) >= config.order_parked {
            return Err(refusal(state, call, (row, is_full), config, now));
        }
        Ok(call)
    }

    fn enqueue(&self, state: &mut LaneState, queued: QueuedCall, context: &DeliveryContext) -> Wake {
        context.row_order.memory.entered(queued.slot.bytes);
        match state.rows.enter(queued.slot.row, queued) {
            Some(head) => state.enqueue(head, &context.workers),
            None => {
                context.metrics.row_order_parked.increment(1.0);
                Wake::Busy
            }
        }
    }

    fn leave(&self, state: &mut LaneState, slot: &LaneSlot, context: &DeliveryContext) -> Option<QueuedCall> {
        context.row_order.memory.left(slot.bytes);
        // At a stop, no call may replace the dropped one: it would be sent before it.
        if context.is_stopping() {
            return None;
        }
        let next = state.rows.leave(slot.row)?;
        context.metrics.row_order_parked.decrement(1.0);
        Some(next)
    }

    /// The other instance reads the call's record again. Sent here, the call could arrive after later calls of its
    /// row.
    fn is_sent_elsewhere(&self, call: &Call) -> bool {
        call.receipt.is_revoked()
    }

    /// The owner of the call's partition sends it.
    fn lost_throttle_slots(&self, _: &DeliveryContext, queued: QueuedCall) {
        drop(queued);
    }

    fn delivered(&self, lane: &Lane, queued: &QueuedCall) {
        lane.state().rows.worked(queued.slot.row);
    }

    /// Each failure counts against the endpoint, whatever its reason, because it delays other calls. A requested pause
    /// applies to each row separately.
    fn failure(&self, observation: Observation, cause: &FailureCause) -> Observation {
        match observation {
            Observation::WantsPause(cause, _) => Observation::Overloaded(cause),
            Observation::Works => Observation::Fails(cause.clone()),
            Observation::Fails(_) | Observation::Overloaded(_) => observation,
        }
    }

    /// The head of a row waits for its next attempt, and its row with it, but no longer than `order_patience` allows.
    /// Then the head is dead-lettered, and the row continues. The calls behind it get one attempt each until one is
    /// delivered, so that a row which fails permanently does not hold places for days.
    fn next_after_failure(
        &self,
        lane: &Lane,
        queued: &QueuedCall,
        took: Duration,
        next: NextAttempt,
        cause: FailureCause,
    ) -> (NextAttempt, FailureCause) {
        let (lasted, behind) = head_failed(lane, queued.slot.row, took, &cause);
        let patience = lane.shared.config.order_patience.saturating_sub(lasted);
        if let NextAttempt::InMemory(wait) | NextAttempt::InTopic(wait) = next
            && !patience.is_zero()
        {
            return (NextAttempt::InMemory(wait.min(patience)), cause);
        }
        let text = format!(
            "{}; dead-lettered after {} attempts: its row has failed for {lasted:.1?}, and {behind} calls of the row \
             wait behind it",
            cause.text, queued.call.attempts,
        );
        (NextAttempt::Never, FailureCause { text, ..cause })
    }

    fn wait_step(&self, left: Duration) -> Duration {
        left.min(CHECK_INTERVAL)
    }

    /// Other calls wait for the head. Its definition may have ended, or another instance may send it now.
    fn ends_wait(&self, call: &Call) -> bool {
        self.is_sent_elsewhere(call) || call.message.event_state.has_ended()
    }

    /// Calls in row order stay, unless this instance reads no partition of the row-order topic any more and the
    /// webhook is throttled: then other instances read them.
    fn maintain(&self, lane: &Arc<Lane>) {
        if lane.shared.row_order.throttle.reads_no_partition() && lane.throttling().is_some() {
            lane.close();
            lane.map.forget(lane);
        }
    }
}

/// Records that the head of a row has failed in an attempt that took this long. Returns for how long the row has
/// failed, and how many calls wait behind the head.
fn head_failed(lane: &Lane, row: RowKey, took: Duration, cause: &FailureCause) -> (Duration, usize) {
    let now = lane.created.elapsed();
    let mut state = lane.state();
    let since = state.rows.failed(row, now.saturating_sub(took), cause);
    (now.saturating_sub(since), state.rows.behind(row))
}

/// Refuses a call because the lane is full or too many calls of its row wait. The call waits for a place, unless the
/// endpoint has only failed for a while: then it is dead-lettered.
fn refusal(
    state: &mut LaneState,
    call: Call,
    (row, is_full): (RowKey, bool),
    config: &Config,
    now: Duration,
) -> Refusal {
    if is_full && !std::mem::replace(&mut state.full, true) {
        (state.full_since, state.full_at) = (now, config.queue_calls);
    }
    let (waiting, trouble) = match is_full {
        // Failures from before the lane was full do not count.
        true => (state.calls, state.trouble.as_ref().filter(|_| state.last_failed > state.full_since)),
        false => (state.rows.behind(row) + 1, state.rows.trouble(row)),
    };
    match trouble.filter(|(_, since)| now.saturating_sub(*since) >= config.order_patience / BLIP) {
        Some((trouble, _)) => {
            let text = format!(
                "not attempted: {waiting} calls wait before it in row order, there is no room for more, and the \
                 endpoint fails: {}",
                trouble.text
            );
            Refusal::DeadLetter(call, FailureCause { class: CLASS, status: trouble.status, text })
        }
        None => Refusal::Full(call),
    }
}
