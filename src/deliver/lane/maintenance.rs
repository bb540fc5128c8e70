//! Maintenance of a lane at intervals, and its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Lane, Wake};

/// How long a lane without calls is remembered after its last failure. So an endpoint that gets calls only rarely
/// keeps its breaker, and its recovery is reported once.
const MEMORY: Duration = Duration::from_secs(3600);

impl Lane {
    /// Removes a lane without calls and workers from the map, unless its endpoint failed recently.
    pub fn remove_if_idle(self: &Arc<Self>) {
        let mut state = self.state();
        let is_over = state.is_idle() && !self.health.has_failed_within(MEMORY, Instant::now());
        state.closed |= is_over;
        drop(state);
        if is_over {
            self.map.forget(self);
        }
    }

    /// Releases the queues of a lane that has neither calls nor workers, because very many lanes may be remembered.
    /// Returns whether it did. The lane is maintained again after the next call.
    fn release_if_idle(&self) -> bool {
        let mut state = self.state();
        let is_idle = state.is_idle();
        if is_idle {
            state.is_maintained = false;
            (state.queue, state.rows, state.parked_workers) = Default::default();
        }
        is_idle
    }

    /// Runs at intervals: releases the queues of an idle lane, wakes workers, and lets the lane's order handle the
    /// calls that have waited for too long. Returns false if the lane needs no maintenance until the next call.
    pub fn maintain(self: &Arc<Self>) -> bool {
        if self.release_if_idle() {
            self.remove_if_idle();
            return false;
        }
        // Workers that parked while this instance had no throttle share check again whether it has one.
        let wake = match &mut *self.state() {
            state if state.queue.is_empty() || state.pausing => Wake::Busy,
            state => state.wake_worker(&self.shared.workers),
        };
        self.wake(wake);
        self.order.maintain(self);
        true
    }

    /// Drops the queued calls unsettled, and takes no more calls.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let queued = std::mem::take(&mut state.queue);
        let rows = std::mem::take(&mut state.rows);
        let workers = std::mem::take(&mut state.parked_workers);
        drop(state);
        workers.iter().for_each(|worker| worker.notify_one());
        self.shared.metrics.row_order_parked.decrement(rows.parked() as f64);
        drop((queued, rows));
        self.space_freed.notify_waiters();
    }
}
