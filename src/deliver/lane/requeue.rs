//! Calls that wait in memory for a short retry.

use std::sync::Arc;
use std::time::Duration;

use super::{Lane, QueuedCall};
use crate::deliver::overflow_reason::OverflowReason;

/// Interval at which a waiting call in row order is checked.
const LOOK: Duration = Duration::from_millis(500);

impl Lane {
    /// Queues a call again after a short wait. It keeps its room, and holds no worker.
    pub fn push_later(self: &Arc<Self>, mut held: QueuedCall, wait: Duration) {
        held.room.rest();
        if wait.is_zero() {
            return self.push_again(held);
        }
        let lane = self.clone();
        tokio::spawn(async move {
            lane.shared.metrics.retries_waiting.increment(1.0);
            let due = tokio::select! {
                due = lane.wait(&held, wait) => due,
                () = lane.shared.stopped() => false,
            };
            lane.shared.metrics.retries_waiting.decrement(1.0);
            if due {
                lane.push_again(held);
            }
        });
    }

    /// Waits, and returns whether to queue the call again. A call in row order is checked during the wait, because
    /// other calls wait for it: its definition may have ended, or another instance may send it now.
    async fn wait(&self, held: &QueuedCall, wait: Duration) -> bool {
        if !self.key.is_in_order() {
            tokio::time::sleep(wait).await;
            return true;
        }
        let due = self.born.elapsed().saturating_add(wait);
        loop {
            if held.call.receipt.is_given_up() {
                return false;
            }
            let left = due.saturating_sub(self.born.elapsed());
            if left.is_zero() || held.call.message.live.has_ended() {
                return true;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    fn push_again(self: &Arc<Self>, mut held: QueuedCall) {
        let now = self.born.elapsed();
        let mut state = self.state();
        // The lock must be released first: dropping the call's slot takes it.
        if state.closed {
            drop(state);
            return drop(held);
        }
        if !state.breaker.admits(now) {
            let trouble = state.trouble(now);
            drop(state);
            return self.shared.defer(held.into_call(), OverflowReason::Failing(trouble));
        }
        held.queued = now;
        state.queue.push_back(held);
        let hand = state.hand(&self.shared.workers);
        drop(state);
        self.give_to(hand);
    }
}
