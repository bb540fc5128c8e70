//! Calls that wait in memory for a short retry.

use std::sync::Arc;
use std::time::Duration;

use super::{Lane, QueuedCall};
use crate::deliver::overflow_reason::OverflowReason;

/// Interval at which a waiting call in row order is checked.
const LOOK: Duration = Duration::from_millis(500);

impl Lane {
    /// Queues a call again after a short wait. It keeps its place, and holds no worker.
    pub fn push_later(self: &Arc<Self>, mut queued: QueuedCall, wait: Duration) {
        queued.slot.attempt_ended();
        if wait.is_zero() {
            return self.push_again(queued);
        }
        let lane = self.clone();
        tokio::spawn(async move {
            lane.shared.metrics.retries_waiting.increment(1.0);
            let due = tokio::select! {
                due = lane.wait(&queued, wait) => due,
                () = lane.shared.stopped() => false,
            };
            lane.shared.metrics.retries_waiting.decrement(1.0);
            if due {
                lane.push_again(queued);
            }
        });
    }

    /// Waits, and returns whether to queue the call again. A call in row order is checked during the wait, because
    /// other calls wait for it: its definition may have ended, or another instance may send it now.
    async fn wait(&self, queued: &QueuedCall, wait: Duration) -> bool {
        if !self.key.is_in_order() {
            tokio::time::sleep(wait).await;
            return true;
        }
        let due = self.created.elapsed().saturating_add(wait);
        loop {
            if queued.call.receipt.is_revoked() {
                return false;
            }
            let left = due.saturating_sub(self.created.elapsed());
            if left.is_zero() || queued.call.message.live.has_ended() {
                return true;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    fn push_again(self: &Arc<Self>, mut queued: QueuedCall) {
        let now = self.created.elapsed();
        let mut state = self.state();
        // The lock must be released first: dropping the call's slot takes it.
        if state.closed {
            drop(state);
            return drop(queued);
        }
        if !state.breaker.admits(now) {
            let trouble = state.trouble(now);
            drop(state);
            return self.shared.defer(queued.into_call(), OverflowReason::Failing(trouble));
        }
        queued.queued_at = now;
        state.queue.push_back(queued);
        let wake = state.wake_worker(&self.shared.workers);
        drop(state);
        self.wake(wake);
    }
}
