//! Applies the `CallThrottling` of a webhook to its lane.

use super::{Lane, LaneState};
use crate::deliver::Call;
use crate::deliver::throttle::SendTime;
use crate::time::since_1970;

impl Lane {
    /// Waits until a call may be sent. False if this instance has no share of the webhook's throttle slots any more,
    /// or stops.
    pub async fn await_throttle_slot(&self, call: &Call) -> bool {
        loop {
            match self.take_throttle_slot(call) {
                SendTime::Now => return true,
                SendTime::After(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.shared.wait_for_stop() => return false,
                },
                SendTime::Never => return false,
            }
        }
    }

    /// Whether the first queued call may be sent.
    pub(in crate::deliver::lane) fn send_time_of_first(&self, state: &LaneState) -> SendTime {
        match state.queue.front() {
            // This call will not be sent, so it needs no throttle slot.
            Some(queued) if queued.must_not_be_sent() => SendTime::Now,
            Some(queued) => self.take_throttle_slot(&queued.call),
            None => SendTime::Never,
        }
    }

    /// Takes the throttle slot of a call, if its webhook has a `CallThrottling`. Returns when the call may be sent.
    fn take_throttle_slot(&self, call: &Call) -> SendTime {
        let target = &call.message.target;
        let throttle = self.order.throttle(&self.shared);
        target.call_throttling.map_or(SendTime::Now, |calls| throttle.take(target.webhook, calls, since_1970()))
    }

    /// The calls-per-second limit of the webhook of the first queued call, if it has one.
    pub(in crate::deliver::lane) fn throttling(&self) -> Option<u32> {
        self.state().queue.front()?.call.message.target.call_throttling
    }
}
