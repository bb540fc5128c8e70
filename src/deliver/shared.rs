//! What all lanes share, and the map of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;

use super::dial::Dialer;
use super::lane::Lane;
use super::metrics::Metrics;
use super::resolve::Resolver;
use super::schedule::Schedule;
use super::throttle::{Pace, Throttle, Turn};
use super::{CALL_BYTES, Call, Cause, Config, Onward, Outcome, Retries, note, now};
use crate::id::WebhookId;
use crate::lifecycle::Stop;
use crate::message_log::Status;

/// Why an endpoint fails, and for how long it has failed with no answer of one that works.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub cause: Cause,
    pub lasted: Duration,
}

/// What calls share a lane: those to one URL, but for those of a webhook that wants something of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// What its endpoint shares connections by.
    endpoint: Arc<str>,
    whose: Whose,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Everybodys,
    /// Those of a webhook as one version has it must not mix with those of others.
    Own(WebhookId, u32),
    /// Those of a webhook that wants row order: whatever its version, so that none overtakes those of the one before.
    Ordered(WebhookId),
}

pub(super) struct Shared {
    pub config: Config,
    pub dialer: Dialer,
    pub schedule: Schedule,
    pub metrics: Metrics,
    pub onward: Arc<dyn Onward>,
    pub throttle: Arc<Throttle>,
    /// That of webhooks that want row order.
    pub row_order_throttle: Arc<Throttle>,
    pub in_order: InMemory,
    /// Only lanes that have calls or workers are in it, and those whose endpoints fail.
    lanes: DashMap<Key, Arc<Lane>>,
    /// Those of them that have calls or workers, and so have to be looked after. Others are only remembered, and there
    /// may be very many of them.
    busy: Mutex<Vec<Arc<Lane>>>,
    in_flight: AtomicUsize,
    /// Woken when there is room for calls again, and when the last call in flight has left.
    fewer: Notify,
    stop: Stop,
}

/// The calls in row order that are in memory, over all lanes. They wait for their endpoints where they are, so they get
/// but a part of the room, and the rest goes on.
pub(super) struct InMemory {
    max_calls: usize,
    max_bytes: usize,
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

impl InMemory {
    fn new(max_calls: usize, max_bytes: usize) -> Self {
        Self { max_calls, max_bytes, calls: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    pub fn is_full(&self) -> bool {
        self.calls.load(Ordering::Relaxed) >= self.max_calls || self.bytes.load(Ordering::Relaxed) >= self.max_bytes
    }

    /// A call has come whose body has so many bytes.
    pub fn entered(&self, bytes: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes + CALL_BYTES, Ordering::Relaxed);
    }

    pub fn left(&self, bytes: usize) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes + CALL_BYTES, Ordering::Relaxed);
    }
}

impl Key {
    fn of(call: &Call) -> Self {
        let target = &call.message.target;
        // Its throttling, or what only its own calls meet: its patience, and the credentials that it sends.
        let is_own = target.call_throttling.is_some() || target.timeout.is_some() || target.authorization.is_some();
        let whose = match target.is_in_row_order() {
            true => Whose::Ordered(target.webhook),
            false if is_own => Whose::Own(target.webhook, target.version),
            false => Whose::Everybodys,
        };
        Self { endpoint: super::endpoint(call).lane.clone(), whose }
    }

    /// Whether its calls go out in row order.
    pub fn is_in_order(&self) -> bool {
        matches!(self.whose, Whose::Ordered(_))
    }
}

impl Shared {
    pub fn new(config: Config, retries: Retries<'_>, onward: Arc<dyn Onward>) -> Result<Arc<Self>, String> {
        // A call that waits for longer than any topic has to be written there again and again.
        let longest_spread = retries.tiers.last().copied().unwrap_or_default();
        Ok(Arc::new(Self {
            dialer: Dialer::new(&config, Resolver::system())?,
            schedule: Schedule::new(config.retry.clone(), config.retry_after_limit, retries.tiers),
            throttle: Throttle::new(retries.partitions, longest_spread),
            row_order_throttle: Throttle::new(retries.row_order_partitions, longest_spread),
            in_order: InMemory::new(config.max_calls / 2, retries.row_order_bytes),
            metrics: Metrics::new(),
            onward,
            lanes: DashMap::new(),
            busy: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            fewer: Notify::new(),
            stop: Stop::default(),
            config,
        }))
    }

    /// A call's lane, made when it is missing. None when all lanes are stopping.
    pub fn lane(self: &Arc<Self>, call: &Call) -> Option<Arc<Lane>> {
        let key = Key::of(call);
        if let Some(lane) = self.lanes.get(&key) {
            return Some(lane.clone());
        }
        // Stopping is looked at under the map's lock: a lane made before `stop` goes through the map is found
        // there, one after that is not made.
        let entry = self.lanes.entry(key.clone());
        if self.is_stopping() {
            return None;
        }
        Some(entry.or_insert_with(|| Lane::new(key, super::endpoint(call).clone(), self.clone())).clone())
    }

    /// Takes a closed lane off the map, unless another has its place by now.
    pub fn forget(&self, lane: &Arc<Lane>) {
        self.lanes.remove_if(&lane.key, |_, other| Arc::ptr_eq(other, lane));
    }

    /// Closes all lanes.
    pub fn stop(&self) {
        self.stop.now();
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.clone()).collect();
        for lane in lanes {
            lane.close();
            self.forget(&lane);
        }
        // They hold this as it holds them.
        self.busy().clear();
    }

    #[cfg(test)]
    pub fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    #[cfg(test)]
    pub fn busy_count(&self) -> usize {
        self.busy().len()
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_asked()
    }

    /// Resolves when all lanes are stopping.
    pub async fn stopped(&self) {
        self.stop.asked().await;
    }

    /// Sends a call that its lane does not take to wait in a retry topic, which is no attempt. One whose endpoint
    /// has failed for longer than its whole schedule lasts, and that is older itself, has waited enough.
    pub fn defer(&self, mut call: Call, trouble: Option<Trouble>) {
        let fails = trouble.is_some();
        let age = now().saturating_sub(Duration::from_millis(u64::try_from(call.offered_ms).unwrap_or(0)));
        if let Some(Trouble { cause, lasted }) = trouble
            && age.min(lasted) > self.schedule.lifetime(call.message.target.retry.as_deref())
        {
            self.metrics.exhausted.increment(1);
            note::end(&*self.onward, &call, Status::Exhausted, Some(cause.class));
            return self.onward.finished(call, Outcome::Exhausted { cause });
        }
        call.deferrals = call.deferrals.saturating_add(1);
        self.metrics.deferred.increment(1);
        let wait = self.schedule.deferral(call.deferrals, super::random(&call));
        let target = &call.message.target;
        let soon = self.schedule.deferral(1, 0);
        let wait = match target.call_throttling {
            // No turn helps while its endpoint fails: it would be written again and again for days.
            Some(_) if fails => wait,
            // Whoever reads it in the first retry topic has a share. In another one this instance would, again and again.
            Some(_) if self.throttle.owns_nothing() => soon,
            // Each at a time of its own, so that they don't come back together.
            Some(calls) => {
                let pace = if call.deferrals == 1 { Pace::Group } else { Pace::Own };
                self.throttle.spread(target.webhook, (calls, pace), wait.min(soon), now())
            }
            None => wait,
        };
        self.onward.wait(call, wait, None);
    }

    /// Whether a call may go out now, as its webhook's CallThrottling has it.
    pub fn turn(&self, call: &Call) -> Turn {
        let target = &call.message.target;
        let throttle = if target.is_in_row_order() { &self.row_order_throttle } else { &self.throttle };
        target.call_throttling.map_or(Turn::Now, |calls| throttle.take(target.webhook, calls, now()))
    }

    /// Has a lane looked after that has calls again.
    pub fn look_after(&self, lane: Arc<Lane>) {
        self.busy().push(lane);
    }

    /// Looks after the lanes that are busy: what has been queued for too long goes to wait elsewhere.
    pub fn expire(&self) {
        let mut lanes = std::mem::take(&mut *self.busy());
        lanes.retain(|lane| lane.expire());
        let mut busy = self.busy();
        if !self.is_stopping() {
            busy.append(&mut lanes);
        }
        drop(busy);
        self.throttle.forget_idle(now());
        self.row_order_throttle.forget_idle(now());
    }

    /// Forgets the lanes that have been remembered for long enough.
    pub fn end_remembered(&self) {
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.clone()).collect();
        lanes.iter().for_each(|lane| lane.end_if_left());
    }

    fn busy(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.busy.lock().expect("nothing that holds this lock can panic")
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub fn call_entered(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.metrics.in_flight.increment(1.0);
    }

    pub fn call_left(&self) {
        self.metrics.in_flight.decrement(1.0);
        let left = self.in_flight.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == 0 || left + 1 == self.config.max_calls {
            self.fewer.notify_waiters();
        }
    }

    /// Resolves when there is room for another call, whatever its lane.
    pub async fn room(&self) {
        self.until(|in_flight| in_flight < self.config.max_calls).await;
    }

    /// Resolves when no call is in flight.
    pub async fn empty(&self) {
        self.until(|in_flight| in_flight == 0).await;
    }

    async fn until(&self, holds: impl Fn(usize) -> bool) {
        while !holds(self.in_flight()) {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if holds(self.in_flight()) {
                return;
            }
            fewer.await;
        }
    }
}
