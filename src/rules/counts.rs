//! Counters of each event. Every holder of an event's counters increments them with one atomic addition.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use dashmap::DashMap;

use crate::id::EventId;

/// Numbers of messages, calls and errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Matches that were rendered and handed to delivery: one per match, for any number of URLs.
    pub messages: u64,
    /// Calls (one message to one URL) whose first attempt was made.
    pub calls: u64,
    /// Failed attempts, including retries.
    pub errors: u64,
}

impl Totals {
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Totals {
    /// Saturates, because counts from elsewhere may be any number.
    fn add_assign(&mut self, more: Self) {
        self.messages = self.messages.saturating_add(more.messages);
        self.calls = self.calls.saturating_add(more.calls);
        self.errors = self.errors.saturating_add(more.errors);
    }
}

/// One event's counts since they were last taken.
#[derive(Debug, Default)]
pub struct EventCounts {
    messages: AtomicU64,
    calls: AtomicU64,
    errors: AtomicU64,
}

impl EventCounts {
    /// Counts a message that is handed to an endpoint of its webhook. Only the first endpoint counts.
    pub fn count_message(&self, endpoint: usize) {
        if endpoint == 0 {
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a call at its first attempt.
    pub fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed attempt.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> Totals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals { messages: read(&self.messages), calls: read(&self.calls), errors: read(&self.errors) }
    }

    fn take(&self) -> Totals {
        // Most events are idle most of the time, and a read does not invalidate the caches of other processors.
        if self.read().is_zero() {
            return Totals::default();
        }
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Totals { messages: take(&self.messages), calls: take(&self.calls), errors: take(&self.errors) }
    }
}

/// The counters of all active events, and of ended events until their last messages are counted.
#[derive(Debug, Default)]
pub struct CountsByEvent(DashMap<EventId, Arc<EventCounts>>);

impl CountsByEvent {
    /// The counters of an event, which the caller keeps while it counts.
    pub fn of(&self, event: EventId) -> Arc<EventCounts> {
        self.0.entry(event).or_default().clone()
    }

    /// An event's counts since they were last taken.
    pub fn pending_totals(&self, event: EventId) -> Totals {
        self.0.get(&event).map_or(Totals::default(), |counts| counts.read())
    }

    /// Takes the counts of all events that have any. Drops the counters that have no other holder.
    pub fn take(&self, mut each: impl FnMut(EventId, Totals)) {
        self.0.retain(|event, counts| {
            // The order matters: once there is no other holder, all its additions are visible, and none follows.
            let is_held = Arc::strong_count(counts) > 1;
            fence(Ordering::Acquire);
            let taken = counts.take();
            if !taken.is_zero() {
                each(*event, taken);
            }
            is_held
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_once_and_removed_when_unused() {
        let counts = CountsByEvent::default();
        let event: EventId = "event1".parse().unwrap();
        let held = counts.of(event);
        held.count_message(0);
        held.count_message(1);
        held.count_call();
        held.count_call();
        held.error();
        let expected = Totals { messages: 1, calls: 2, errors: 1 };
        assert_eq!(counts.pending_totals(event), expected);
        let mut taken = Vec::new();
        counts.take(|event, totals| taken.push((event, totals)));
        counts.take(|event, totals| taken.push((event, totals)));
        assert_eq!(taken, [(event, expected)]);

        held.error();
        drop(held);
        counts.take(|event, totals| taken.push((event, totals)));
        assert_eq!(taken[1].1, Totals { errors: 1, ..Totals::default() });
        assert!(counts.0.is_empty());
    }
}
