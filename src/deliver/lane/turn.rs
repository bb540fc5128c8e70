//! When a lane's calls may go out, as their webhook's CallThrottling has it.

use super::super::Call;
use super::super::throttle::Turn;
use super::{Held, Lane, State};

impl Lane {
    /// Waits until a call may go out; false if this instance has no share of its webhook's calls any more, or stops.
    pub async fn await_turn(&self, call: &Call) -> bool {
        loop {
            match self.shared.turn(call) {
                Turn::Now => return true,
                Turn::In(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.shared.stopped() => return false,
                },
                Turn::Never => return false,
            }
        }
    }

    /// Gives up a call that was taken and that this instance may not send by now, which is no attempt. One in row order
    /// is dropped, unsettled: whoever has its partition sends it.
    pub fn put_off(&self, held: Held) {
        if !self.key.is_in_order() {
            self.shared.defer(held.into_call(), None);
        }
    }

    /// Whether the first call that is queued may go out.
    pub(super) fn turn_of_first(&self, state: &State) -> Turn {
        match state.queue.front() {
            // It is not sent, so it takes nobody's turn.
            Some(held) if held.is_over() => Turn::Now,
            Some(held) => self.shared.turn(&held.call),
            None => Turn::Never,
        }
    }

    /// Whether what is queued goes out only at a time of its own.
    pub(super) fn is_throttled(&self) -> bool {
        let throttled = |held: &Held| held.call.message.target.call_throttling.is_some();
        self.state().queue.front().is_some_and(throttled)
    }
}
