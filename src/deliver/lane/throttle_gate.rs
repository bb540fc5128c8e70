//! Applies the `CallThrottling` of a webhook to its lane.

use super::{Lane, LaneState, QueuedCall};
use crate::deliver::Call;
use crate::deliver::overflow_reason::OverflowReason;
use crate::deliver::throttle::SendTime;

impl Lane {
    /// Waits until a call may be sent. False if this instance has no share of the webhook's throttle slots any more,
    /// or stops.
    pub async fn await_slot(&self, call: &Call) -> bool {
        loop {
            match self.shared.take_slot(call) {
                SendTime::Now => return true,
                SendTime::In(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.shared.stopped() => return false,
                },
                SendTime::Never => return false,
            }
        }
    }

    /// Defers a taken call that this instance may not send any more. A deferral is not an attempt. A call in row
    /// order is dropped unsettled instead: the owner of its partition sends it.
    pub fn defer_without_slot(&self, queued: QueuedCall) {
        if !self.key.is_in_order() {
            self.shared.defer(queued.into_call(), OverflowReason::NoShare);
        }
    }

    /// Whether the first queued call may be sent.
    pub(in crate::deliver::lane) fn slot_of_first(&self, state: &LaneState) -> SendTime {
        match state.queue.front() {
            // This call will not be sent, so it needs no throttle slot.
            Some(queued) if queued.must_not_be_sent() => SendTime::Now,
            Some(queued) => self.shared.take_slot(&queued.call),
            None => SendTime::Never,
        }
    }

    /// The calls-per-second limit of the webhook of the first queued call, if it has one.
    pub(in crate::deliver::lane) fn throttling(&self) -> Option<u32> {
        self.state().queue.front()?.call.message.target.call_throttling
    }
}
