//! The lane of an endpoint: a bounded queue, and workers that exist while there is work.
//!
//! A call is counted from the moment it is queued until it leaves the lane, also while an attempt is under way or
//! while it waits for a short retry. So an endpoint never holds more than its share of memory. A call that finds no
//! room, or that has been queued for too long, does not block its partition: it is deferred to the overflow log.
//!
//! A lane without calls and workers removes itself from the map of lanes. Only the lane of a failing endpoint is
//! remembered for a while.
//!
//! Everything that depends on row order is in [`order`].

mod admission;
mod maintenance;
mod map;
mod observation;
mod order;
mod outcome;
mod requeue;
mod row_queue;
mod slot;
mod status;
mod throttle_gate;
mod waiting;
mod wake;
pub(super) mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub(super) use self::admission::Refusal;
pub(super) use self::map::LaneMap;
pub(super) use self::observation::Observation;
use self::order::SendOrder;
use self::row_queue::RowQueues;
pub use self::status::LaneStatus;
pub use self::waiting::Takes;
use super::context::DeliveryContext;
use super::health::EndpointHealth;
pub(super) use super::lane::slot::{LaneSlot, QueuedCall};
use super::lane::wake::Wake;
use super::lane_key::LaneKey;
use super::policy::breaker::Breaker;
use super::policy::concurrency::Concurrency;
use super::policy::drain_rate::DrainRate;
use super::throttle::SendTime;
use super::transport::route::Route;
use super::{Call, FailureCause};
use crate::definition::Endpoint;

pub(super) struct Lane {
    pub key: LaneKey,
    /// The rules of the lane that depend on the order of its calls.
    order: &'static dyn SendOrder,
    pub route: Route,
    pub health: EndpointHealth,
    pub shared: Arc<DeliveryContext>,
    /// The map of lanes, from which the lane removes itself.
    map: Arc<LaneMap>,
    created: Instant,
    state: Mutex<LaneState>,
    /// Notified when a full lane has places again.
    space_freed: Notify,
}

struct LaneState {
    queue: VecDeque<QueuedCall>,
    /// In row order, the calls of each row that wait behind its head. At most one call of a row is in the queue.
    rows: RowQueues<QueuedCall>,
    /// Calls that have a place, and the bytes of their bodies.
    calls: usize,
    bytes: usize,
    /// Calls with an attempt under way.
    under_way: usize,
    workers: usize,
    /// Workers without work. The one that parked last is woken first, so that the others can end.
    parked_workers: Vec<Arc<Notify>>,
    /// A worker waits for the next throttle slot.
    pausing: bool,
    /// The lane is in the list of lanes that are maintained.
    is_maintained: bool,
    /// A call was refused for lack of a place, and free places have not been notified since.
    full: bool,
    /// The number of calls at which it was full.
    full_at: usize,
    /// Since when it is full. Set only in row order.
    full_since: Duration,
    pace: DrainRate,
    concurrency: Concurrency,
    breaker: Breaker,
    /// Why the endpoint failed last, and since when it fails.
    trouble: Option<(FailureCause, Duration)>,
    /// An attempt has shown that the endpoint works.
    has_worked: bool,
    /// Until this time, calls of this lane are assumed to wait in the overflow log.
    behind_until: Option<Duration>,
    last_failed: Duration,
    /// The lane takes no more calls: it is removed from the map, or all lanes are stopping.
    closed: bool,
}

/// The next action of a worker.
#[expect(clippy::large_enum_variant, reason = "it is moved once, from the queue to the worker")]
pub(super) enum NextAction {
    Send(QueuedCall),
    /// Wait for a notification. The worker is in the list of parked workers.
    Park,
    /// Wait until the next call may be sent, then call [`Lane::pause_over`].
    Pause(Duration),
    End,
}

impl Lane {
    pub fn new(key: LaneKey, endpoint: Arc<Endpoint>, map: Arc<LaneMap>) -> Arc<Self> {
        let shared = map.shared.clone();
        shared.metrics.lanes.increment(1.0);
        let config = &shared.config;
        let order = order::of(&key);
        let state = LaneState {
            queue: VecDeque::new(),
            rows: RowQueues::default(),
            calls: 0,
            bytes: 0,
            under_way: 0,
            workers: 0,
            parked_workers: Vec::new(),
            pausing: false,
            is_maintained: false,
            full: false,
            full_at: 0,
            full_since: Duration::ZERO,
            pace: DrainRate::default(),
            concurrency: Concurrency::new(config.min_concurrency, config.max_concurrency()),
            breaker: Breaker::new(order.breaker_failures(config), config.breaker_pause),
            trouble: None,
            has_worked: false,
            behind_until: None,
            last_failed: Duration::ZERO,
            closed: false,
        };
        Arc::new(Self {
            key,
            order,
            route: Route::new(endpoint),
            health: EndpointHealth::default(),
            shared,
            map,
            created: Instant::now(),
            state: Mutex::new(state),
            space_freed: Notify::new(),
        })
    }

    /// Queues a call.
    #[expect(clippy::result_large_err, reason = "a refusal is as common as a success, so a box would not pay off")]
    pub fn push(self: &Arc<Self>, call: Call) -> Result<(), Refusal> {
        let bytes = call.message.body.len();
        let now = self.created.elapsed();
        let row = call.row();
        let wake = {
            let mut state = self.state();
            if state.closed {
                return Err(Refusal::Closed(call));
            }
            let call = self.order.admit(&mut state, call, &self.shared, now)?;
            state.calls += 1;
            state.bytes += bytes;
            if !std::mem::replace(&mut state.is_maintained, true) {
                self.map.maintain_from_now(self.clone());
            }
            self.shared.add_in_flight();
            let slot = LaneSlot { lane: self.clone(), bytes, under_way: false, row };
            self.order.enqueue(&mut state, QueuedCall { call, slot, queued_at: now }, &self.shared)
        };
        self.wake(wake);
        Ok(())
    }

    /// Resolves when a full lane has places again. Enable it before a push that may be refused, so that no notification
    /// is missed.
    pub fn space_freed(&self) -> Notified<'_> {
        self.space_freed.notified()
    }

    /// Returns the next action of a worker.
    pub fn take_next(self: &Arc<Self>, wake: &Arc<Notify>) -> NextAction {
        let mut state = self.state();
        if state.closed && state.queue.is_empty() {
            state.workers -= 1;
            self.shared.workers.remove_worker();
            return NextAction::End;
        }
        if state.under_way < state.concurrency.max_concurrent_calls() {
            match self.send_time_of_first(&state) {
                SendTime::Now => {}
                SendTime::After(wait) if !std::mem::replace(&mut state.pausing, true) => {
                    return NextAction::Pause(wait);
                }
                // Without a share of the webhook's throttle slots, fresh calls soon go to the overflow log. `maintain`
                // wakes the parked workers.
                SendTime::After(_) | SendTime::Never => {
                    state.parked_workers.push(wake.clone());
                    return NextAction::Park;
                }
            }
            let mut queued = state.queue.pop_front().expect("send_time_of_first has found a first call");
            queued.slot.under_way = true;
            state.under_way += 1;
            // When the concurrency limit has grown, there is work for another worker.
            let more = !state.queue.is_empty() && state.under_way < state.concurrency.max_concurrent_calls();
            let wake = if more { state.wake_worker(&self.shared.workers) } else { Wake::Busy };
            drop(state);
            self.wake(wake);
            return NextAction::Send(queued);
        }
        state.parked_workers.push(wake.clone());
        NextAction::Park
    }

    /// The pause of a worker has ended.
    pub fn pause_over(&self) {
        self.state().pausing = false;
    }

    #[cfg(test)]
    pub fn parked_workers(&self) -> usize {
        self.state().parked_workers.len()
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock()
    }
}

impl LaneState {
    /// Whether the lane has neither calls nor workers.
    fn is_idle(&self) -> bool {
        self.workers == 0 && self.calls == 0
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.metrics.lanes.decrement(1.0);
    }
}
