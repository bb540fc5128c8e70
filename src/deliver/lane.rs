//! An endpoint's lane: a bounded queue, and workers that are there while there is work.
//!
//! Everything a call needs room for is counted from the moment it is queued until it has left, also while it
//! is under way or waits a moment for a retry, so that an endpoint never holds more than its share. A call that
//! finds no room, or that has waited in the queue for too long, is not the partition's worry: it goes on to
//! wait in a retry topic. A lane that has nothing left takes itself off the map of lanes, but for one whose endpoint
//! fails, which is remembered for a while. In a lane whose calls are in
//! row order, those that wait for another one about their row hold room like the others; see `in_order`.

mod admission;
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
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub(super) use self::admission::Refusal;
use self::row_queue::RowQueues;
pub use self::status::LaneStatus;
pub use self::waiting::Takes;
use super::context::{DeliveryContext, FailureSummary, LaneKey, OverflowReason};
use super::health::Health;
pub(super) use super::lane::slot::{LaneSlot, QueuedCall};
use super::lane::wake::Wake;
use super::policy::breaker::Breaker;
use super::policy::concurrency::Concurrency;
use super::policy::drain_rate::DrainRate;
use super::throttle::SendTime;
use super::transport::route::Route;
use super::{Call, Cause};
use crate::definition::Endpoint;
use crate::id::RowKey;

/// For how long after its last failure a lane without calls remembers that its endpoint fails: a call that comes once in
/// a while meets the same breaker, and its recovery is told as one.
const MEMORY: Duration = Duration::from_secs(3600);

pub(super) struct Lane {
    pub key: LaneKey,
    pub route: Route,
    pub health: Health,
    pub shared: Arc<DeliveryContext>,
    born: Instant,
    state: Mutex<LaneState>,
    /// Wakes those that wait for room, when a full lane has some again.
    room: Notify,
}

struct LaneState {
    queue: VecDeque<QueuedCall>,
    /// Only where calls are in row order: each row's are in the queue one at a time.
    rows: RowQueues<QueuedCall>,
    /// Calls that hold room, and the bytes of their bodies.
    calls: usize,
    bytes: usize,
    /// Calls of which an attempt is under way.
    under_way: usize,
    workers: usize,
    /// Workers without work. The one that came last is woken first, so that the others can end.
    parked: Vec<Arc<Notify>>,
    /// A worker waits until the next call may go out.
    pausing: bool,
    /// It is on the list of lanes that are looked after.
    looked_after: bool,
    /// A call was turned away, and nobody has been told of room since.
    full: bool,
    /// With how many calls it was.
    full_at: usize,
    /// When that was, in a lane whose calls are in row order.
    full_since: Duration,
    pace: DrainRate,
    concurrency: Concurrency,
    breaker: Breaker,
    /// Why the endpoint failed last, and since when it fails.
    trouble: Option<(Cause, Duration)>,
    /// An attempt has shown that the endpoint works.
    has_worked: bool,
    /// Until when calls of it are taken to wait in the overflow log.
    behind_until: Option<Duration>,
    last_failed: Duration,
    /// No call is taken any more: the lane is off the map, or all lanes are stopping.
    closed: bool,
}

/// What a worker is to do next.
#[expect(clippy::large_enum_variant, reason = "it is moved once, from the queue to the worker")]
pub(super) enum NextAction {
    Send(QueuedCall),
    /// Until it is notified: it is on the list of those without work.
    Park,
    /// Until the next call may go out; then [`Lane::pause_over`].
    Pause(Duration),
    End,
}

/// What an attempt has shown of the endpoint.
#[derive(Debug, Clone)]
pub(super) enum Observation {
    /// It answers as one that works, whatever it makes of this call.
    Works,
    /// It answers, and says that it is in trouble, or does not answer.
    Fails(Cause),
    /// The same, and less would be better.
    Overloaded(Cause),
    /// It wants no calls for so long.
    WantsPause(Cause, Duration),
}

impl Lane {
    pub fn new(key: LaneKey, endpoint: Arc<Endpoint>, shared: Arc<DeliveryContext>) -> Arc<Self> {
        shared.metrics.lanes.increment(1.0);
        let config = &shared.config;
        // In row order a call that is turned away has nowhere to wait.
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
            looked_after: false,
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
            born: Instant::now(),
            state: Mutex::new(state),
            room: Notify::new(),
        })
    }

    /// Queues a call.
    #[expect(clippy::result_large_err, reason = "being turned away is as common as being taken: not worth a box")]
    pub fn push(self: &Arc<Self>, call: Call) -> Result<(), Refusal> {
        let bytes = call.message.body.len();
        let now = self.born.elapsed();
        let row = call.row.filter(|_| self.key.is_in_order());
        let hand = {
            let mut state = self.state();
            let call = state.admit(call, row, &self.shared, now)?;
            state.calls += 1;
            state.bytes += bytes;
            if !std::mem::replace(&mut state.looked_after, true) {
                self.shared.look_after(self.clone());
            }
            self.shared.call_entered();
            if row.is_some() {
                self.shared.in_order.entered(bytes);
            }
            let room = LaneSlot { lane: self.clone(), bytes, under_way: false, row };
            let held = QueuedCall { call, room, queued: now };
            let head = match row {
                Some(row) => state.rows.enter(row, held),
                None => Some(held),
            };
            match head {
                Some(held) => {
                    state.queue.push_back(held);
                    state.hand(&self.shared.workers)
                }
                None => {
                    self.shared.metrics.row_order_parked.increment(1.0);
                    Wake::Busy
                }
            }
        };
        self.give_to(hand);
        Ok(())
    }

    /// Is woken when there is room again; to be enabled before the push that it is to make up for.
    pub fn room(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// What a worker is to do next.
    pub fn take(self: &Arc<Self>, wake: &Arc<Notify>) -> NextAction {
        let mut state = self.state();
        if state.closed && state.queue.is_empty() {
            state.workers -= 1;
            self.shared.workers.left();
            return NextAction::End;
        }
        if state.under_way < state.concurrency.allowed() {
            match self.turn_of_first(&state) {
                SendTime::Now => {}
                SendTime::In(wait) if !std::mem::replace(&mut state.pausing, true) => return NextAction::Pause(wait),
                // Without a share of the webhook's calls, fresh ones soon go to the overflow log; `expire` wakes those that park.
                SendTime::In(_) | SendTime::Never => {
                    state.parked.push(wake.clone());
                    return NextAction::Park;
                }
            }
            let mut held = state.queue.pop_front().expect("the queue has the call whose turn it is");
            held.room.under_way = true;
            state.under_way += 1;
            // Where more is allowed than before, there is work for another one.
            let more = !state.queue.is_empty() && state.under_way < state.concurrency.allowed();
            let hand = if more { state.hand(&self.shared.workers) } else { Wake::Busy };
            drop(state);
            self.give_to(hand);
            return NextAction::Send(held);
        }
        state.parked.push(wake.clone());
        NextAction::Park
    }

    /// The time for which a worker was to pause has passed.
    pub fn pause_over(&self) {
        self.state().pausing = false;
    }

    /// Takes in what an attempt has shown. When the endpoint turns out to fail, what is queued for it goes to wait
    /// elsewhere.
    pub fn learn(&self, shown: Observation, took: Duration) {
        let now = self.born.elapsed();
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
            .for_each(|held| self.shared.defer(held.into_call(), OverflowReason::Failing(trouble.clone())));
    }

    /// A row's head has failed in an attempt that took so long. Returns for how long its row fails.
    pub fn head_failed(&self, head: &QueuedCall, took: Duration, cause: &Cause) -> Duration {
        let now = self.born.elapsed();
        let began = now.saturating_sub(took);
        let since = head.room.row.map_or(began, |row| self.state().rows.failed(row, began, cause));
        now.saturating_sub(since)
    }

    /// A row's head was delivered.
    pub fn head_worked(&self, head: &QueuedCall) {
        if let Some(row) = head.room.row {
            self.state().rows.worked(row);
        }
    }

    /// How many calls wait for a row's head.
    pub fn behind(&self, head: &QueuedCall) -> usize {
        head.room.row.map_or(0, |row| self.state().rows.behind(row))
    }

    /// Takes a lane off the map that nothing is left of, unless its endpoint fails and that is worth knowing still.
    pub fn end_if_left(self: &Arc<Self>) {
        let mut state = self.state();
        let is_over = state.is_left() && !self.health.has_failed_within(MEMORY, Instant::now());
        state.closed |= is_over;
        drop(state);
        if is_over {
            self.shared.forget(self);
        }
    }

    /// Whether nothing is left of it but what it knows. It is looked after again when a call comes, and until then it
    /// keeps no room for calls: very many lanes may be remembered.
    fn rests(&self) -> bool {
        let mut state = self.state();
        let rests = state.is_left();
        if rests {
            state.looked_after = false;
            (state.queue, state.rows, state.parked) = Default::default();
        }
        rests
    }

    /// Sends what has been queued for too long to wait elsewhere: the endpoint does not keep up. In row order it stays,
    /// unless this instance may not send it at all any more: then others read it by now. False when there is nothing to
    /// look after until a call comes.
    pub fn expire(self: &Arc<Self>) -> bool {
        if self.rests() {
            self.end_if_left();
            return false;
        }
        // Whoever parked while this instance had no share is told that it may have one again.
        let hand = match &mut *self.state() {
            state if state.queue.is_empty() || state.pausing => Wake::Busy,
            state => state.hand(&self.shared.workers),
        };
        self.give_to(hand);
        if self.key.is_in_order() {
            if self.shared.row_order_throttle.reads_nothing() && self.throttling().is_some() {
                self.close();
                self.shared.forget(self);
            }
            return true;
        }
        self.put_back();
        let (throttle, queue_wait) = (&self.shared.throttle, self.shared.config.queue_wait);
        let may_wait = match self.throttling() {
            // Without a share there is nothing to wait for here.
            Some(_) if throttle.owns_nothing() => Duration::ZERO,
            // The next slot may be further away than others wait, and then nothing would ever be here for it.
            Some(calls) => queue_wait.max(throttle.apart(calls) * 2),
            None => queue_wait,
        };
        let latest = self.born.elapsed().saturating_sub(may_wait);
        // What comes from the overflow log keeps no row change open, and is not written there again.
        let expired = self.drain_queue(|held| held.queued < latest && !held.call.from_overflow);
        expired.into_iter().for_each(|held| self.shared.defer(held.into_call(), OverflowReason::Waited));
        true
    }

    /// Drops what is queued, unsettled, and takes nothing more.
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
        self.room.notify_waiters();
    }

    #[cfg(test)]
    pub fn parked(&self) -> usize {
        self.state().parked.len()
    }

    /// A row's head has left: the next of the row has its turn, if there is one.
    fn go_on(&self, row: RowKey, state: &mut LaneState) -> Wake {
        let Some(mut next) = state.rows.leave(row) else { return Wake::Busy };
        self.shared.metrics.row_order_parked.decrement(1.0);
        next.queued = self.born.elapsed();
        state.queue.push_back(next);
        state.hand(&self.shared.workers)
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().expect("nothing that holds this lock can panic")
    }
}

impl LaneState {
    /// Whether it has neither calls nor workers.
    fn is_left(&self) -> bool {
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
