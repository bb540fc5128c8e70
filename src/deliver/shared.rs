//! What all lanes share, and the map of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;

use super::dial::Dialer;
use super::lane::Lane;
use super::metrics::Metrics;
use super::schedule::Schedule;
use super::{Call, Cause, Config, Onward, Outcome};
use crate::definition::Endpoint;
use crate::lifecycle::Stop;

pub(super) struct Shared {
    pub config: Config,
    pub dialer: Dialer,
    pub schedule: Schedule,
    pub metrics: Metrics,
    pub onward: Arc<dyn Onward>,
    /// By the endpoint's URL. Only lanes that have calls or workers are in it.
    lanes: DashMap<Arc<str>, Arc<Lane>>,
    in_flight: AtomicUsize,
    /// Woken when there is room for calls again, and when the last call in flight has left.
    fewer: Notify,
    stop: Stop,
}

impl Shared {
    pub fn new(config: Config, tiers: &[Duration], onward: Arc<dyn Onward>) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            dialer: Dialer::new(&config)?,
            schedule: Schedule::new(config.retry.clone(), config.retry_after_limit, tiers),
            metrics: Metrics::new(),
            onward,
            lanes: DashMap::new(),
            in_flight: AtomicUsize::new(0),
            fewer: Notify::new(),
            stop: Stop::default(),
            config,
        }))
    }

    /// An endpoint's lane, made when it is missing. None when all lanes are stopping.
    pub fn lane(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Option<Arc<Lane>> {
        if let Some(lane) = self.lanes.get(&endpoint.url) {
            return Some(lane.clone());
        }
        // Stopping is looked at under the map's lock: a lane made before `stop` goes through the map is found
        // there, one after that is not made.
        let entry = self.lanes.entry(endpoint.url.clone());
        if self.is_stopping() {
            return None;
        }
        Some(entry.or_insert_with(|| Lane::new(endpoint.clone(), self.clone())).clone())
    }

    /// Takes a closed lane off the map, unless another has its place by now.
    pub fn forget(&self, lane: &Arc<Lane>) {
        self.lanes.remove_if(&lane.route.endpoint.url, |_, other| Arc::ptr_eq(other, lane));
    }

    /// Closes all lanes.
    pub fn stop(&self) {
        self.stop.now();
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.clone()).collect();
        for lane in lanes {
            lane.close();
            self.forget(&lane);
        }
    }

    #[cfg(test)]
    pub fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_asked()
    }

    /// Resolves when all lanes are stopping.
    pub async fn stopped(&self) {
        self.stop.asked().await;
    }

    /// Sends a call that its lane does not take to wait in a retry topic, which is no attempt. One whose endpoint
    /// has failed for longer than its whole schedule lasts has waited enough; `trouble` is why it failed.
    pub fn defer(&self, mut call: Call, trouble: Option<Cause>) {
        let age = Duration::from_millis(u64::try_from(super::now_ms().saturating_sub(call.offered_ms)).unwrap_or(0));
        if let Some(cause) = trouble
            && age > self.schedule.lifetime(call.message.target.retry.as_deref())
        {
            self.metrics.exhausted.increment(1);
            return self.onward.finished(call, Outcome::Exhausted { cause });
        }
        call.deferrals = call.deferrals.saturating_add(1);
        self.metrics.deferred.increment(1);
        let wait = self.schedule.deferral(call.deferrals, super::random(&call));
        self.onward.wait(call, wait, None);
    }

    /// Looks after all lanes: what has been queued for too long goes to wait elsewhere.
    pub fn expire(&self) {
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.clone()).collect();
        lanes.iter().for_each(|lane| lane.expire());
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
