//! What is counted of each event: numbers that whoever holds an event's handle makes grow, with one addition.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use dashmap::DashMap;

use crate::id::EventId;

/// Messages, calls and errors, as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Matches that were rendered and handed to delivery; one a match, however many URLs it goes to.
    pub messages: u64,
    /// Calls, each of one message to one URL, of which the first attempt was made.
    pub calls: u64,
    /// Attempts that failed, every one.
    pub errors: u64,
}

impl Totals {
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Totals {
    /// Counts that come from elsewhere may be any number, so that a sum stops at the highest.
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
    /// A message is handed on to one of its webhook's endpoints. It counts with the first.
    pub fn message_to(&self, endpoint: usize) {
        if endpoint == 0 {
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The first attempt of a call was made.
    pub fn call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt failed.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> Totals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals { messages: read(&self.messages), calls: read(&self.calls), errors: read(&self.errors) }
    }

    fn take(&self) -> Totals {
        // Most events are idle at most times, and looking leaves other processors' copies alone.
        if self.read().is_zero() {
            return Totals::default();
        }
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Totals { messages: take(&self.messages), calls: take(&self.calls), errors: take(&self.errors) }
    }
}

/// The counts of all events that are active, or were when their last messages were made.
#[derive(Debug, Default)]
pub struct CountsByEvent(DashMap<EventId, Arc<EventCounts>>);

impl CountsByEvent {
    /// The counts of an event, to be kept by those who count.
    pub fn of(&self, event: EventId) -> Arc<EventCounts> {
        self.0.entry(event).or_default().clone()
    }

    /// What was counted of an event since it was last taken.
    pub fn untaken(&self, event: EventId) -> Totals {
        self.0.get(&event).map_or(Totals::default(), |counts| counts.read())
    }

    /// Takes what was counted, of the events of which anything was. Those that nobody counts any more are
    /// forgotten.
    pub fn take(&self, mut each: impl FnMut(EventId, Totals)) {
        self.0.retain(|event, counts| {
            // In this order: once nobody else holds it, all that they added is seen, and nothing is added later.
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
    fn what_is_counted_is_taken_once_and_forgotten_when_nobody_counts() {
        let counts = CountsByEvent::default();
        let event: EventId = "event1".parse().unwrap();
        let held = counts.of(event);
        held.message_to(0);
        held.message_to(1);
        held.call();
        held.call();
        held.error();
        let expected = Totals { messages: 1, calls: 2, errors: 1 };
        assert_eq!(counts.untaken(event), expected);
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
