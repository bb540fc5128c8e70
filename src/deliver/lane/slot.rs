//! The place that a call has in its lane, from when it is queued until it leaves the lane.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Lane;
use crate::deliver::Call;
use crate::id::RowKey;

/// A call with its place in a lane.
pub(in crate::deliver) struct QueuedCall {
    pub call: Call,
    pub slot: LaneSlot,
    /// When the call was last queued, since the creation of the lane.
    pub(in crate::deliver::lane) queued_at: Duration,
}

/// A place in a lane. Dropping it frees the place.
pub(in crate::deliver) struct LaneSlot {
    pub(in crate::deliver::lane) lane: Arc<Lane>,
    pub(in crate::deliver::lane) bytes: usize,
    pub(in crate::deliver::lane) under_way: bool,
    /// The row that the call is about. In row order, the next call of the row is queued when the place is freed.
    pub(in crate::deliver::lane) row: RowKey,
}

impl QueuedCall {
    /// Whether the call must not be sent any more: its definition has ended, its receiver answered 410, or another
    /// instance sends it.
    pub fn must_not_be_sent(&self) -> bool {
        let message = &self.call.message;
        message.event_state.has_ended()
            || message.target.is_gone.load(Ordering::Relaxed)
            || self.slot.lane.order.is_sent_elsewhere(&self.call)
    }

    /// Returns the call and frees its place.
    pub fn into_call(self) -> Call {
        self.call
    }
}

impl LaneSlot {
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Marks the attempt as ended.
    pub(in crate::deliver::lane) fn attempt_ended(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.lane.state().under_way -= 1;
        }
    }
}

impl Drop for LaneSlot {
    fn drop(&mut self) {
        let lane = &self.lane;
        let mut state = lane.state();
        state.under_way -= usize::from(self.under_way);
        state.calls -= 1;
        state.bytes -= self.bytes;
        if self.under_way {
            state.pace.count_ended_attempt();
        }
        let wake = lane.order.leave(&mut state, self, &lane.shared).map(|mut next| {
            next.queued_at = lane.created.elapsed();
            state.enqueue(next, &lane.shared.workers)
        });
        let has_space = state.announces_free_places(&lane.shared.config);
        drop(state);
        if let Some(wake) = wake {
            lane.wake(wake);
        }
        if has_space {
            lane.space_freed.notify_waiters();
        }
        lane.shared.remove_in_flight();
    }
}
