//! The map of lanes: by key, by line, and those that have calls.

use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};

use super::{Lane, LaneStatus, Takes};
use crate::deliver::context::DeliveryContext;
use crate::deliver::lane_key::LaneKey;
use crate::deliver::{Call, endpoint};
use crate::id::Line;

/// All lanes. A lane removes itself when it has ended.
pub(in crate::deliver) struct LaneMap {
    /// What the lanes share.
    pub shared: Arc<DeliveryContext>,
    /// Lanes that have calls or workers, and lanes of failing endpoints.
    lanes: DashMap<LaneKey, Arc<Lane>>,
    /// The newest lane of each line.
    lines: DashMap<Line, Arc<Lane>>,
    /// The lanes that have calls or workers, which have to be checked for expired calls. The others are only
    /// remembered, and there may be very many of them.
    busy: Mutex<Vec<Arc<Lane>>>,
}

impl LaneMap {
    pub fn new(shared: Arc<DeliveryContext>) -> Arc<Self> {
        Arc::new(Self { shared, lanes: DashMap::new(), lines: DashMap::new(), busy: Mutex::default() })
    }

    /// The lane of a call, created if it is missing. None when all lanes are stopping.
    pub fn lane(self: &Arc<Self>, call: &Call) -> Option<Arc<Lane>> {
        let key = LaneKey::of(call);
        if let Some(lane) = self.lanes.get(&key) {
            return Some(lane.clone());
        }
        // The stop flag is checked under the map's lock: a lane made before `stop` iterates over the map is found
        // there, and a lane after that is not made.
        let entry = self.lanes.entry(key.clone());
        if self.shared.is_stopping() {
            return None;
        }
        let lane = entry.or_insert_with(|| {
            let line = key.line();
            let lane = Lane::new(key, endpoint(call).clone(), self.clone());
            self.lines.insert(line, lane.clone());
            lane
        });
        Some(lane.clone())
    }

    /// Makes this the lane of its line. Lanes of older versions of the webhook may have been used for the line since.
    pub fn claim_line(&self, lane: &Arc<Lane>) {
        let line = lane.key.line();
        if !self.lines.get(&line).is_some_and(|known| Arc::ptr_eq(&known, lane)) {
            self.lines.insert(line, lane.clone());
        }
    }

    /// The lane of a call, if it exists.
    pub fn known_lane(&self, call: &Call) -> Option<Arc<Lane>> {
        Some(self.lanes.get(&LaneKey::of(call))?.clone())
    }

    /// How many of the calls that wait in a line its lane takes now.
    pub fn takes(&self, line: Line) -> Takes {
        let lane = self.lines.get(&line).map(|lane| lane.clone());
        lane.map_or(Takes::UNKNOWN, |lane| lane.takes())
    }

    /// The status of each lane.
    pub fn statuses(&self) -> Vec<LaneStatus> {
        self.lanes.iter().map(|lane| lane.status()).collect()
    }

    /// Lets the breaker of a line's lane send its next probe now.
    pub fn probe_now(&self, line: Line) {
        if let Some(lane) = self.lines.get(&line) {
            lane.probe_now();
        }
    }

    /// Removes a closed lane from the map, unless another has replaced it.
    pub fn forget(&self, lane: &Arc<Lane>) {
        self.lanes.remove_if(&lane.key, |_, other| Arc::ptr_eq(other, lane));
        self.lines.remove_if(&lane.key.line(), |_, other| Arc::ptr_eq(other, lane));
    }

    /// Closes all lanes.
    pub fn stop(&self) {
        self.shared.stop();
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.clone()).collect();
        for lane in lanes {
            lane.close();
            self.forget(&lane);
        }
        // The lanes reference this map, and this list references the lanes.
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

    /// Adds a lane that has calls again to the lanes that are maintained.
    pub fn maintain_from_now(&self, lane: Arc<Lane>) {
        self.busy().push(lane);
    }

    /// Checks the lanes that have calls: a call that has been queued for too long is deferred.
    pub fn maintain(&self) {
        let mut lanes = std::mem::take(&mut *self.busy());
        lanes.retain(|lane| lane.maintain());
        let mut busy = self.busy();
        if !self.shared.is_stopping() {
            busy.append(&mut lanes);
        }
        drop(busy);
        self.shared.forget_used_slots();
    }

    /// Counts the failing endpoints, and the calls that wait in memory.
    pub fn count(&self) {
        let (failing, queued) = self
            .lanes
            .iter()
            .map(|lane| lane.counts())
            .fold((0, 0), |sum, (failing, queued)| (sum.0 + usize::from(failing), sum.1 + queued));
        self.shared.metrics.failing_endpoints.set(failing as f64);
        self.shared.metrics.queued.set(queued as f64);
    }

    /// Removes the lanes whose time to be remembered is over.
    pub fn end_remembered(&self) {
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.clone()).collect();
        lanes.iter().for_each(|lane| lane.remove_if_idle());
    }

    fn busy(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.busy.lock()
    }
}
