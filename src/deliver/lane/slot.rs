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
    /// The row of a call in row order. When the place is freed, the next call of the row is queued.
    pub(in crate::deliver::lane) row: Option<RowKey>,
}

impl QueuedCall {
    /// Whether the call must not be sent any more: its definition has ended, its receiver answered 410, or another
    /// instance sends it.
    pub fn must_not_be_sent(&self) -> bool {
        let message = &self.call.message;
        message.live.has_ended()
            || message.target.gone.load(Ordering::Relaxed)
            || self.slot.row.is_some() && self.call.receipt.is_revoked()
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
        let config = &self.lane.shared.config;
        let mut state = self.lane.state();
        state.under_way -= usize::from(self.under_way);
        state.calls -= 1;
        state.bytes -= self.bytes;
        if self.under_way {
            state.pace.left();
        }
        if self.row.is_some() {
            self.lane.shared.in_order.left(self.bytes);
        }
        // At a stop, no call may replace the dropped one: it would be sent before it.
        let wake = self.row.filter(|_| !self.lane.shared.is_stopping()).map(|row| self.lane.go_on(row, &mut state));
        // Waiting tasks are notified when a quarter of the lane is free, so that a lane which stays full wakes them
        // once for many calls.
        let has_space = state.calls <= state.full_at / 4 * 3 && state.bytes <= config.queue_bytes / 4 * 3;
        let notify = has_space && std::mem::take(&mut state.full);
        if notify {
            state.pace.roomy();
        }
        drop(state);
        if let Some(wake) = wake {
            self.lane.wake(wake);
        }
        if notify {
            self.lane.space_freed.notify_waiters();
        }
        self.lane.shared.call_left();
    }
}
