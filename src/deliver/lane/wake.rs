//! Assigns a lane's calls to workers. Workers start while there is work, and end after a time without work.

use std::sync::Arc;

use tokio::sync::Notify;

use super::worker;
use super::{Lane, LaneState, QueuedCall};
use crate::deliver::workers::WorkerLimit;

/// The worker for a call that was just queued.
pub(in crate::deliver::lane) enum Wake {
    Parked(Arc<Notify>),
    New,
    /// All workers are busy. They check the queue before they park.
    Busy,
}

impl Lane {
    /// Whether a parked worker may end. False if it was woken at the same moment. The last worker of a lane without
    /// calls removes the lane from the map, unless the endpoint fails.
    pub fn leave(self: &Arc<Self>, wake: &Arc<Notify>) -> bool {
        let mut state = self.state();
        let Some(place) = state.parked_workers.iter().position(|parked| Arc::ptr_eq(parked, wake)) else {
            return false;
        };
        state.parked_workers.remove(place);
        state.workers -= 1;
        self.shared.workers.remove_worker();
        let last = state.is_idle();
        drop(state);
        if last {
            self.route.disconnect();
            self.remove_if_idle();
        }
        true
    }

    pub(in crate::deliver::lane) fn wake(self: &Arc<Self>, wake: Wake) {
        match wake {
            Wake::Parked(worker) => worker.notify_one(),
            Wake::New => drop(tokio::spawn(worker::run(self.clone()))),
            Wake::Busy => {}
        }
    }
}

impl LaneState {
    /// Queues a call behind the others. Returns the worker that sends it.
    pub(in crate::deliver::lane) fn enqueue(&mut self, queued: QueuedCall, workers: &WorkerLimit) -> Wake {
        self.queue.push_back(queued);
        self.wake_worker(workers)
    }

    pub(in crate::deliver::lane) fn wake_worker(&mut self, workers: &WorkerLimit) -> Wake {
        if let Some(worker) = self.parked_workers.pop() {
            Wake::Parked(worker)
        } else if self.workers < self.concurrency.max_concurrent_calls() && workers.try_join(self.workers) {
            self.workers += 1;
            Wake::New
        } else {
            Wake::Busy
        }
    }
}
