//! The room that a call holds in its lane, from the moment it is queued until it has left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Lane;
use crate::deliver::Call;
use crate::id::RowKey;

/// A call with the room that it holds in its lane.
pub(in crate::deliver) struct QueuedCall {
    pub call: Call,
    pub room: LaneSlot,
    /// When it was queued last, from the lane's birth.
    pub(in crate::deliver::lane) queued: Duration,
}

/// Room in a lane; it is free again when this is dropped.
pub(in crate::deliver) struct LaneSlot {
    pub(in crate::deliver::lane) lane: Arc<Lane>,
    pub(in crate::deliver::lane) bytes: usize,
    pub(in crate::deliver::lane) under_way: bool,
    /// The row of a call in row order: the next one of it has its turn once there is room again.
    pub(in crate::deliver::lane) row: Option<RowKey>,
}

impl QueuedCall {
    /// Whether it is not to be sent any more: its definition has ended, its receiver wants nothing, or others send it.
    pub fn is_over(&self) -> bool {
        let message = &self.call.message;
        message.live.has_ended()
            || message.target.gone.load(Ordering::Relaxed)
            || self.room.row.is_some() && self.call.receipt.is_given_up()
    }

    /// The call alone; its room is free.
    pub fn into_call(self) -> Call {
        self.call
    }
}

impl LaneSlot {
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// No attempt is under way any more.
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
        // At a stop nothing takes the place of what was dropped: it would come before it.
        let hand = self.row.filter(|_| !self.lane.shared.is_stopping()).map(|row| self.lane.go_on(row, &mut state));
        // Those who wait are told when a quarter is free, so that a lane which stays full wakes them once for
        // many calls.
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
