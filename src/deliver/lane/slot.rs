//! The room that a call holds in its lane, from when it is queued until it leaves the lane.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Lane;
use crate::deliver::Call;
use crate::id::RowKey;

/// A call with its room in a lane.
pub(in crate::deliver) struct QueuedCall {
    pub call: Call,
    pub room: LaneSlot,
    /// When the call was last queued, since the creation of the lane.
    pub(in crate::deliver::lane) queued: Duration,
}

/// Room in a lane. Dropping it releases the room.
pub(in crate::deliver) struct LaneSlot {
    pub(in crate::deliver::lane) lane: Arc<Lane>,
    pub(in crate::deliver::lane) bytes: usize,
    pub(in crate::deliver::lane) under_way: bool,
    /// The row of a call in row order. When the room is released, the next call of the row is queued.
    pub(in crate::deliver::lane) row: Option<RowKey>,
}

impl QueuedCall {
    /// Whether the call must not be sent any more: its definition has ended, its receiver answered 410, or another
    /// instance sends it.
    pub fn is_over(&self) -> bool {
        let message = &self.call.message;
        message.live.has_ended()
            || message.target.gone.load(Ordering::Relaxed)
            || self.room.row.is_some() && self.call.receipt.is_given_up()
    }

    /// Returns the call and releases its room.
    pub fn into_call(self) -> Call {
        self.call
    }
}

impl LaneSlot {
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Marks the attempt as ended.
    pub(in crate::deliver::lane) fn rest(&mut self) {
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
        let hand = self.row.filter(|_| !self.lane.shared.is_stopping()).map(|row| self.lane.go_on(row, &mut state));
        // Waiting tasks are notified when a quarter of the lane is free, so that a lane which stays full wakes them
        // once for many calls.
        let roomy = state.calls <= state.full_at / 4 * 3 && state.bytes <= config.queue_bytes / 4 * 3;
        let tell = roomy && std::mem::take(&mut state.full);
        if tell {
            state.pace.roomy();
        }
        drop(state);
        if let Some(hand) = hand {
            self.lane.give_to(hand);
        }
        if tell {
            self.lane.room.notify_waiters();
        }
        self.lane.shared.call_left();
    }
}
