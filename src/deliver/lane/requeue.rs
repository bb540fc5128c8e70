//! Calls that wait in memory for a short retry.

use std::sync::Arc;
use std::time::Duration;

use super::{Lane, QueuedCall};
use crate::deliver::overflow_reason::OverflowReason;

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
                () = lane.wait(&queued, wait) => true,
                () = lane.shared.wait_for_stop() => false,
            };
            lane.shared.metrics.retries_waiting.decrement(1.0);
            if due && !lane.order.is_sent_elsewhere(&queued.call) {
                lane.push_again(queued);
            }
        });
    }

    /// Waits until the call's next attempt is due, or the lane's order ends the wait.
    async fn wait(&self, queued: &QueuedCall, wait: Duration) {
        let due = self.created.elapsed().saturating_add(wait);
        loop {
            let left = due.saturating_sub(self.created.elapsed());
            if left.is_zero() || self.order.ends_wait(&queued.call) {
                return;
            }
            tokio::time::sleep(self.order.wait_step(left)).await;
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
        if !state.breaker.try_admit(now) {
            let trouble = state.trouble(now);
            drop(state);
            return self.shared.defer(queued.into_call(), OverflowReason::Failing(trouble));
        }
        queued.queued_at = now;
        let wake = state.enqueue(queued, &self.shared.workers);
        drop(state);
        self.wake(wake);
    }
}
