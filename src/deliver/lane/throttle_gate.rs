//! When a lane's calls may go out, as their webhook's CallThrottling has it.

use super::{Lane, LaneState, QueuedCall};
use crate::deliver::Call;
use crate::deliver::context::OverflowReason;
use crate::deliver::throttle::SendTime;

impl Lane {
    /// Waits until a call may go out; false if this instance has no share of its webhook's calls any more, or stops.
    pub async fn await_turn(&self, call: &Call) -> bool {
        loop {
            match self.shared.turn(call) {
                SendTime::Now => return true,
                SendTime::In(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.shared.stopped() => return false,
                },
                SendTime::Never => return false,
            }
        }
    }

    /// Gives up a call that was taken and that this instance may not send by now, which is no attempt. One in row order
    /// is dropped, unsettled: whoever has its partition sends it.
    pub fn put_off(&self, held: QueuedCall) {
        if !self.key.is_in_order() {
            self.shared.defer(held.into_call(), OverflowReason::NoShare);
        }
    }

    /// Whether the first call that is queued may go out.
    pub(in crate::deliver::lane) fn turn_of_first(&self, state: &LaneState) -> SendTime {
        match state.queue.front() {
            // It is not sent, so it takes nobody's turn.
            Some(held) if held.is_over() => SendTime::Now,
            Some(held) => self.shared.turn(&held.call),
            None => SendTime::Never,
        }
    }

    /// How many calls a second the webhook may make of whose calls the first is queued, if that is limited.
    pub(in crate::deliver::lane) fn throttling(&self) -> Option<u32> {
        self.state().queue.front()?.call.message.target.call_throttling
    }
}
