//! The lane of an endpoint: a bounded queue, and workers that exist while there is work.
//!
//! A call is counted from the moment it is queued until it leaves the lane, also while an attempt is under way or
//! while it waits for a short retry. So an endpoint never holds more than its share of memory. A call that finds no
//! room, or that has been queued for too long, does not block its partition: it is deferred to the overflow log.
//!
//! A lane without calls and workers removes itself from the map of lanes. Only the lane of a failing endpoint is
//! remembered for a while. In a lane in row order, calls that wait for another call of their row count like all
//! others; see [`ordered`].

mod admission;
mod map;
pub(super) mod ordered;
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
use self::row_queue::RowQueues;
pub use self::status::LaneStatus;
pub use self::waiting::Takes;
use super::context::DeliveryContext;
use super::failure_summary::FailureSummary;
use super::health::Health;
pub(super) use super::lane::slot::{LaneSlot, QueuedCall};
use super::lane::wake::Wake;
use super::lane_key::LaneKey;
use super::overflow_reason::OverflowReason;
use super::policy::breaker::Breaker;
use super::policy::concurrency::Concurrency;
use super::policy::drain_rate::DrainRate;
use super::throttle::SendTime;
use super::transport::route::Route;
use super::{Call, Cause};
use crate::definition::Endpoint;
use crate::id::RowKey;

/// How long a lane without calls is remembered after its last failure. So an endpoint that gets calls only rarely
/// keeps its breaker, and its recovery is reported once.
const MEMORY: Duration = Duration::from_secs(3600);

pub(super) struct Lane {
    pub key: LaneKey,
    pub route: Route,
    pub health: Health,
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
    /// Used only in row order: at most one call of each row is in the queue.
    rows: RowQueues<QueuedCall>,
    /// Calls that have a place, and the bytes of their bodies.
    calls: usize,
    bytes: usize,
    /// Calls with an attempt under way.
    under_way: usize,
    workers: usize,
    /// Workers without work. The one that parked last is woken first, so that the others can end.
    parked: Vec<Arc<Notify>>,
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
    trouble: Option<(Cause, Duration)>,
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

/// What an attempt shows about the endpoint.
#[derive(Debug, Clone)]
pub(super) enum Observation {
    /// The endpoint works, whatever its response to this call.
    Works,
    /// The endpoint reports that it is in trouble, or does not answer.
    Fails(Cause),
    /// As `Fails`, and fewer concurrent calls would help.
    Overloaded(Cause),
    /// The endpoint asks for a pause of this length.
    WantsPause(Cause, Duration),
}

impl Lane {
    pub fn new(key: LaneKey, endpoint: Arc<Endpoint>, map: Arc<LaneMap>) -> Arc<Self> {
        let shared = map.shared.clone();
        shared.metrics.lanes.increment(1.0);
        let config = &shared.config;
        // In row order, a refused call has no other place to wait.
        let failures = if key.is_in_order() { 0 } else { config.breaker_failures };
        let state = LaneState {
            queue: VecDeque::new(),
            rows: RowQueues::default(),
            calls: 0,
            bytes: 0,
            under_way: 0,
            workers: 0,
            parked: Vec::new(),
            pausing: false,
            is_maintained: false,
            full: false,
            full_at: 0,
            full_since: Duration::ZERO,
            pace: DrainRate::default(),
            concurrency: Concurrency::new(config.min_concurrency, config.most_at_once()),
            breaker: Breaker::new(failures, config.breaker_pause),
            trouble: None,
            has_worked: false,
            behind_until: None,
            last_failed: Duration::ZERO,
            closed: false,
        };
        Arc::new(Self {
            key,
            route: Route::new(endpoint),
            health: Health::default(),
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
        let row = call.row.filter(|_| self.key.is_in_order());
        let wake = {
            let mut state = self.state();
            let call = state.admit(call, row, &self.shared, now)?;
            state.calls += 1;
            state.bytes += bytes;
            if !std::mem::replace(&mut state.is_maintained, true) {
                self.map.maintain_from_now(self.clone());
            }
            self.shared.call_entered();
            if row.is_some() {
                self.shared.in_order.entered(bytes);
            }
            let slot = LaneSlot { lane: self.clone(), bytes, under_way: false, row };
            let queued = QueuedCall { call, slot, queued_at: now };
            let head = match row {
                Some(row) => state.rows.enter(row, queued),
                None => Some(queued),
            };
            match head {
                Some(queued) => {
                    state.queue.push_back(queued);
                    state.wake_worker(&self.shared.workers)
                }
                None => {
                    self.shared.metrics.row_order_parked.increment(1.0);
                    Wake::Busy
                }
            }
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
    pub fn take(self: &Arc<Self>, wake: &Arc<Notify>) -> NextAction {
        let mut state = self.state();
        if state.closed && state.queue.is_empty() {
            state.workers -= 1;
            self.shared.workers.left();
            return NextAction::End;
        }
        if state.under_way < state.concurrency.allowed() {
            match self.slot_of_first(&state) {
                SendTime::Now => {}
                SendTime::In(wait) if !std::mem::replace(&mut state.pausing, true) => return NextAction::Pause(wait),
                // Without a share of the webhook's throttle slots, fresh calls soon go to the overflow log. `maintain`
                // wakes the parked workers.
                SendTime::In(_) | SendTime::Never => {
                    state.parked.push(wake.clone());
                    return NextAction::Park;
                }
            }
            let mut queued = state.queue.pop_front().expect("slot_of_first has found a first call");
            queued.slot.under_way = true;
            state.under_way += 1;
            // When the concurrency limit has grown, there is work for another worker.
            let more = !state.queue.is_empty() && state.under_way < state.concurrency.allowed();
            let wake = if more { state.wake_worker(&self.shared.workers) } else { Wake::Busy };
            drop(state);
            self.wake(wake);
            return NextAction::Send(queued);
        }
        state.parked.push(wake.clone());
        NextAction::Park
    }

    /// The pause of a worker has ended.
    pub fn pause_over(&self) {
        self.state().pausing = false;
    }

    /// Applies the result of an attempt. If the breaker opens, all queued calls are deferred to the overflow log.
    pub fn observe(&self, shown: Observation, took: Duration) {
        let now = self.created.elapsed();
        let mut state = self.state();
        let under_way = state.under_way;
        let (opened, cause) = match shown {
            Observation::Works => {
                if state.breaker.is_open() {
                    state.concurrency.recovered();
                    let lasted = state.trouble(now).map_or(Duration::ZERO, |trouble| trouble.lasted);
                    self.shared.recovered.tell(self.key.line(), lasted);
                }
                state.concurrency.answered(took, under_way, now);
                state.breaker.succeeded();
                (state.trouble, state.has_worked) = (None, true);
                return;
            }
            Observation::Fails(cause) => (state.breaker.failed(now), cause),
            Observation::Overloaded(cause) => {
                state.concurrency.trouble(now);
                (state.breaker.failed(now), cause)
            }
            Observation::WantsPause(cause, pause) => {
                state.concurrency.trouble(now);
                (state.breaker.pause(now, pause), cause)
            }
        };
        let since = state.trouble.as_ref().map_or(now, |(_, since)| *since);
        state.trouble = Some((cause, since));
        state.last_failed = now;
        let trouble = state.trouble(now);
        let queued = if opened { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        drop(state);
        if opened {
            self.shared.metrics.breakers_opened.increment(1);
        }
        queued
            .into_iter()
            .for_each(|queued| self.shared.defer(queued.into_call(), OverflowReason::Failing(trouble.clone())));
    }

    /// Records that the head of a row has failed in an attempt that took this long. Returns for how long the row has
    /// failed.
    pub fn head_failed(&self, head: &QueuedCall, took: Duration, cause: &Cause) -> Duration {
        let now = self.created.elapsed();
        let began = now.saturating_sub(took);
        let since = head.slot.row.map_or(began, |row| self.state().rows.failed(row, began, cause));
        now.saturating_sub(since)
    }

    /// Records that the head of a row was delivered.
    pub fn head_worked(&self, head: &QueuedCall) {
        if let Some(row) = head.slot.row {
            self.state().rows.worked(row);
        }
    }

    /// Number of calls that wait for the head of a row.
    pub fn behind(&self, head: &QueuedCall) -> usize {
        head.slot.row.map_or(0, |row| self.state().rows.behind(row))
    }

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
            (state.queue, state.rows, state.parked) = Default::default();
        }
        is_idle
    }

    /// What is due at intervals: releases the queues of an idle lane, ends a throttled lane that other instances serve,
    /// puts due retries back, wakes workers, and defers the calls that have been queued for too long. Returns false if
    /// the lane needs no maintenance until the next call.
    ///
    /// Calls in row order stay, unless this instance reads no partition of the row-order topic any more and the
    /// webhook is throttled: then other instances read them.
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
        if self.key.is_in_order() {
            if self.shared.row_order_throttle.reads_nothing() && self.throttling().is_some() {
                self.close();
                self.map.forget(self);
            }
            return true;
        }
        self.put_back();
        let (throttle, queue_wait) = (&self.shared.throttle, self.shared.config.queue_wait);
        let may_wait = match self.throttling() {
            // Without a share, no slot will come here.
            Some(_) if throttle.owns_nothing() => Duration::ZERO,
            // The next slot may be further away than `queue_wait`. Without this, no call would ever be queued when
            // the slot comes.
            Some(calls) => queue_wait.max(throttle.apart(calls) * 2),
            None => queue_wait,
        };
        let latest = self.created.elapsed().saturating_sub(may_wait);
        // A call from the overflow log keeps no source record open, and is not written to the log again.
        let expired = self.drain_queue(|queued| queued.queued_at < latest && !queued.call.from_overflow);
        expired.into_iter().for_each(|queued| self.shared.defer(queued.into_call(), OverflowReason::Waited));
        true
    }

    /// Drops the queued calls unsettled, and takes no more calls.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let queued = std::mem::take(&mut state.queue);
        let rows = std::mem::take(&mut state.rows);
        let parked = std::mem::take(&mut state.parked);
        drop(state);
        parked.iter().for_each(|worker| worker.notify_one());
        self.shared.metrics.row_order_parked.decrement(rows.parked() as f64);
        drop((queued, rows));
        self.space_freed.notify_waiters();
    }

    #[cfg(test)]
    pub fn parked(&self) -> usize {
        self.state().parked.len()
    }

    /// The head of a row has left the lane. Queues the next call of the row, if there is one.
    fn go_on(&self, row: RowKey, state: &mut LaneState) -> Wake {
        let Some(mut next) = state.rows.leave(row) else { return Wake::Busy };
        self.shared.metrics.row_order_parked.decrement(1.0);
        next.queued_at = self.created.elapsed();
        state.queue.push_back(next);
        state.wake_worker(&self.shared.workers)
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

    fn trouble(&self, now: Duration) -> Option<FailureSummary> {
        let (cause, since) = self.trouble.as_ref()?;
        Some(FailureSummary { cause: cause.clone(), lasted: now.saturating_sub(*since) })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.metrics.lanes.decrement(1.0);
    }
}
