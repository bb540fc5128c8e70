//! The order in which a lane sends its calls. All rules that depend on it are here: the lane chooses its
//! [`SendOrder`] when it is made, and never asks again whether it is in row order.

mod by_row;
mod unordered;

use std::sync::Arc;
use std::time::Duration;

use super::{Lane, LaneSlot, LaneState, Observation, QueuedCall, Refusal, Wake};
use crate::deliver::context::DeliveryContext;
use crate::deliver::lane_key::LaneKey;
use crate::deliver::policy::schedule::NextAttempt;
use crate::deliver::throttle::Throttle;
use crate::deliver::{Call, Config, FailureCause};

/// The rules of a lane that depend on the order of its calls.
pub(super) trait SendOrder: Send + Sync {
    /// Failures in a row that open the breaker. At 0 failures never open it.
    fn breaker_failures(&self, config: &Config) -> u32;

    /// The throttle whose slots the lane's calls use.
    fn throttle<'c>(&self, context: &'c DeliveryContext) -> &'c Throttle;

    /// Returns the call if the lane has a place for it.
    #[expect(clippy::result_large_err, reason = "as for Lane::push")]
    fn admit(
        &self,
        state: &mut LaneState,
        call: Call,
        context: &DeliveryContext,
        now: Duration,
    ) -> Result<Call, Refusal>;

    /// Queues an admitted call, or parks it behind another one. Returns the worker that sends it.
    fn enqueue(&self, state: &mut LaneState, queued: QueuedCall, context: &DeliveryContext) -> Wake;

    /// A call leaves the lane. Returns the call that was parked behind it: it is queued next.
    fn leave(&self, state: &mut LaneState, slot: &LaneSlot, context: &DeliveryContext) -> Option<QueuedCall>;

    /// Whether another instance sends this call, now or later. Then it is dropped unsettled: it must neither be sent
    /// nor be dead-lettered here.
    fn is_sent_elsewhere(&self, call: &Call) -> bool;

    /// Handles a call that was taken from the queue while this instance lost its throttle slots. It was not attempted.
    fn lost_throttle_slots(&self, context: &DeliveryContext, queued: QueuedCall);

    /// The call was delivered.
    fn delivered(&self, lane: &Lane, queued: &QueuedCall);

    /// The observation that a failed attempt counts as.
    fn failure(&self, observation: Observation, cause: &FailureCause) -> Observation;

    /// Decides what follows a failed attempt that took this long. `next` is the decision of the retry schedule.
    fn next_after_failure(
        &self,
        lane: &Lane,
        queued: &QueuedCall,
        took: Duration,
        next: NextAttempt,
        cause: FailureCause,
    ) -> (NextAttempt, FailureCause);

    /// How long a call whose next attempt is due after `left` waits before [`Self::ends_wait`] is asked again.
    fn wait_step(&self, left: Duration) -> Duration;

    /// Whether a call stops waiting for its next attempt although that is not due.
    fn ends_wait(&self, call: &Call) -> bool;

    /// Handles the calls that this instance must not keep any longer. Called at intervals while the lane has calls.
    fn maintain(&self, lane: &Arc<Lane>);
}

/// The order of a lane with this key.
pub(super) fn of(key: &LaneKey) -> &'static dyn SendOrder {
    if key.is_in_row_order() { &by_row::ByRow } else { &unordered::Unordered }
}
