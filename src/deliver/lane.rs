//! An endpoint's lane: a bounded queue, and workers that are there while there is work.
//!
//! Everything a call needs room for is counted from the moment it is queued until it has ended, also while
//! it is under way or waits for a retry, so that an endpoint never holds more than its share. A lane that
//! has nothing left takes itself off the map of lanes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Call;
use super::health::Health;
use super::route::Route;
use super::shared::Shared;
use super::worker;
use crate::definition::Endpoint;

pub(super) struct Lane {
    pub route: Route,
    pub health: Health,
    pub shared: Arc<Shared>,
    state: Mutex<State>,
    /// Wakes those that wait for room, when a full lane has some again.
    room: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Held>,
    /// Calls that hold room, and the bytes of their bodies.
    calls: usize,
    bytes: usize,
    workers: usize,
    /// Workers without work. The one that came last is woken first, so that the others can end.
    parked: Vec<Arc<Notify>>,
    /// A call was turned away, and nobody has been told of room since.
    full: bool,
    /// No call is taken any more: the lane is off the map, or all lanes are stopping.
    closed: bool,
}

/// A call with the room that it holds in its lane.
pub(super) struct Held {
    pub call: Call,
    pub room: Room,
}

/// Room in a lane; it is free again when this is dropped.
pub(super) struct Room {
    lane: Arc<Lane>,
    bytes: usize,
}

/// Why a lane does not take a call; the call comes back.
pub(super) enum Refusal {
    Full(Call),
    Closed(Call),
}

/// What a worker is to do next.
#[expect(clippy::large_enum_variant, reason = "it is moved once, from the queue to the worker")]
pub(super) enum Task {
    Send(Held),
    /// Until it is notified: it is on the list of those without work.
    Park,
    End,
}

/// Who takes a call that was just queued.
enum Hand {
    Parked(Arc<Notify>),
    New,
    /// All workers are busy, and look at the queue before they park.
    Busy,
}

impl Lane {
    pub fn new(endpoint: Arc<Endpoint>, shared: Arc<Shared>) -> Arc<Self> {
        shared.metrics.lanes.increment(1.0);
        Arc::new(Self {
            route: Route::new(endpoint),
            health: Health::default(),
            shared,
            state: Mutex::default(),
            room: Notify::new(),
        })
    }

    /// Queues a call.
    #[expect(clippy::result_large_err, reason = "being turned away is as common as being taken: not worth a box")]
    pub fn push(self: &Arc<Self>, call: Call) -> Result<(), Refusal> {
        let bytes = call.message.body.len();
        let config = &self.shared.config;
        let hand = {
            let mut state = self.state();
            if state.closed {
                return Err(Refusal::Closed(call));
            }
            if state.calls >= config.queue_calls || state.bytes >= config.queue_bytes {
                state.full = true;
                return Err(Refusal::Full(call));
            }
            state.calls += 1;
            state.bytes += bytes;
            self.shared.call_entered();
            let room = Room { lane: self.clone(), bytes };
            state.queue.push_back(Held { call, room });
            state.hand(config.concurrency)
        };
        self.give_to(hand);
        Ok(())
    }

    /// Is woken when there is room again; to be enabled before the push that it is to make up for.
    pub fn room(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// Queues a call once more after a while. It keeps its room, and holds no worker.
    pub fn push_later(self: &Arc<Self>, held: Held, wait: Duration) {
        if wait.is_zero() {
            return self.push_again(held);
        }
        let lane = self.clone();
        tokio::spawn(async move {
            lane.shared.metrics.retries_waiting.increment(1.0);
            let due = tokio::select! {
                () = tokio::time::sleep(wait) => true,
                () = lane.shared.stopped() => false,
            };
            lane.shared.metrics.retries_waiting.decrement(1.0);
            if due {
                lane.push_again(held);
            }
        });
    }

    fn push_again(self: &Arc<Self>, held: Held) {
        let mut state = self.state();
        if state.closed {
            // In this order: giving the call's room back takes the lock.
            drop(state);
            drop(held);
            return;
        }
        state.queue.push_back(held);
        let hand = state.hand(self.shared.config.concurrency);
        drop(state);
        self.give_to(hand);
    }

    /// What a worker is to do next.
    pub fn take(&self, wake: &Arc<Notify>) -> Task {
        let mut state = self.state();
        if let Some(held) = state.queue.pop_front() {
            return Task::Send(held);
        }
        if state.closed {
            state.workers -= 1;
            return Task::End;
        }
        state.parked.push(wake.clone());
        Task::Park
    }

    /// Whether a parked worker may end; false when it was woken at the same moment. The last one of a lane
    /// that has no calls takes the lane off the map.
    pub fn leave(self: &Arc<Self>, wake: &Arc<Notify>) -> bool {
        let mut state = self.state();
        let Some(place) = state.parked.iter().position(|parked| Arc::ptr_eq(parked, wake)) else { return false };
        state.parked.remove(place);
        state.workers -= 1;
        let last = state.workers == 0 && state.calls == 0;
        state.closed |= last;
        drop(state);
        if last {
            self.shared.forget(self);
        }
        true
    }

    /// Drops what is queued, unsettled, and takes nothing more.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let queued = std::mem::take(&mut state.queue);
        let parked = std::mem::take(&mut state.parked);
        drop(state);
        parked.iter().for_each(|worker| worker.notify_one());
        drop(queued);
        self.room.notify_waiters();
    }

    #[cfg(test)]
    pub fn parked(&self) -> usize {
        self.state().parked.len()
    }

    fn give_to(self: &Arc<Self>, hand: Hand) {
        match hand {
            Hand::Parked(worker) => worker.notify_one(),
            Hand::New => drop(tokio::spawn(worker::run(self.clone()))),
            Hand::Busy => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing that holds this lock can panic")
    }
}

impl State {
    fn hand(&mut self, concurrency: usize) -> Hand {
        if let Some(worker) = self.parked.pop() {
            Hand::Parked(worker)
        } else if self.workers < concurrency {
            self.workers += 1;
            Hand::New
        } else {
            Hand::Busy
        }
    }
}

impl Room {
    pub fn lane(&self) -> &Lane {
        &self.lane
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let config = &self.lane.shared.config;
        let mut state = self.lane.state();
        state.calls -= 1;
        state.bytes -= self.bytes;
        // Those who wait are told when a quarter is free, so that a lane which stays full wakes them once for
        // many calls.
        let roomy = state.calls <= config.queue_calls / 4 * 3 && state.bytes <= config.queue_bytes / 4 * 3;
        let tell = roomy && std::mem::take(&mut state.full);
        drop(state);
        if tell {
            self.lane.room.notify_waiters();
        }
        self.lane.shared.call_left();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.metrics.lanes.decrement(1.0);
    }
}
