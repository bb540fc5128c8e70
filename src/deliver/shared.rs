//! What all lanes share, and the map of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::Notify;

use super::dial::Dialer;
use super::lane::Lane;
use super::metrics::Metrics;
use super::resolve::Resolver;
use super::schedule::Schedule;
use super::{Config, OnFinished};
use crate::definition::Endpoint;
use crate::lifecycle::Stop;

pub(super) struct Shared {
    pub config: Config,
    pub dialer: Dialer,
    pub schedule: Schedule,
    pub metrics: Metrics,
    pub on_finished: OnFinished,
    /// By what endpoints share connections by. Only lanes that have calls or workers are in it.
    lanes: DashMap<Arc<str>, Arc<Lane>>,
    in_flight: AtomicUsize,
    /// Woken when the last call in flight has ended.
    empty: Notify,
    stop: Stop,
}

impl Shared {
    pub fn new(config: Config, on_finished: OnFinished) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            dialer: Dialer::new(&config, Resolver::system())?,
            schedule: Schedule::new(config.retry.clone(), config.retry_after_limit),
            metrics: Metrics::new(),
            on_finished,
            lanes: DashMap::new(),
            in_flight: AtomicUsize::new(0),
            empty: Notify::new(),
            stop: Stop::default(),
            config,
        }))
    }

    /// An endpoint's lane, made when it is missing. None when all lanes are stopping.
    pub fn lane(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Option<Arc<Lane>> {
        if let Some(lane) = self.lanes.get(&endpoint.lane) {
            return Some(lane.clone());
        }
        // Stopping is looked at under the map's lock: a lane made before `stop` goes through the map is found
        // there, one after that is not made.
        let entry = self.lanes.entry(endpoint.lane.clone());
        if self.is_stopping() {
            return None;
        }
        Some(entry.or_insert_with(|| Lane::new(endpoint.clone(), self.clone())).clone())
    }

    /// Takes a closed lane off the map, unless another has its place by now.
    pub fn forget(&self, lane: &Arc<Lane>) {
        self.lanes.remove_if(&lane.route.endpoint.lane, |_, other| Arc::ptr_eq(other, lane));
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

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub fn call_entered(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.metrics.in_flight.increment(1.0);
    }

    pub fn call_left(&self) {
        self.metrics.in_flight.decrement(1.0);
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }

    /// Resolves when no call is in flight.
    pub async fn empty(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            empty.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            empty.await;
        }
    }
}
