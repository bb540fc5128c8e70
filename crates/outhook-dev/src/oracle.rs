//! The oracle: knows which messages must arrive, checks them off, and finds lost, duplicate and unexpected ones.
//!
//! Its memory is bounded: the feed stops while too many messages are outstanding, and only the last [`REMEMBERED`]
//! settled messages are remembered by id.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::latency::Latencies;

/// Age at which an expected message counts as lost. If it arrives later, it counts as delivered.
const OVERDUE: Duration = Duration::from_secs(60);

/// Max remembered messages that have arrived, are lost or must never arrive.
const REMEMBERED: usize = 250_000;

/// Counts over the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Expected messages that arrived with a valid signature.
    pub delivered: u64,
    /// Expected messages that did not arrive.
    pub lost: u64,
    /// Messages that arrived again after they had been accepted.
    pub duplicates: u64,
    pub bad_signatures: u64,
    /// Messages of sample changes that should not have fired.
    pub uncalled_for: u64,
    /// Messages of changes or webhooks that are not the sample's.
    pub others: u64,
}

impl Tally {
    /// All received messages.
    pub fn messages(&self) -> u64 {
        self.delivered + self.duplicates + self.bad_signatures + self.uncalled_for + self.others
    }

    /// Whether there are no lost, duplicate, badly signed or unexpected messages.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicates == 0 && self.bad_signatures == 0 && self.uncalled_for == 0
    }
}

/// Classification of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Expected; it arrived this long after its change.
    Delivered(Duration),
    Duplicate,
    UncalledFor,
    /// From a change or webhook that is not the sample's.
    Other,
}

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Found(Finding),
    BadSignature,
}

/// Why a message is remembered.
#[derive(Clone, Copy)]
enum Fate {
    Delivered,
    /// Must not arrive: its change must not fire its event.
    Forbidden,
    /// Counted as lost; holds the time of its change.
    Lost(Timestamp),
}

/// Expected and received messages, by their ids.
#[derive(Default)]
pub struct Oracle {
    outstanding: HashMap<u128, Timestamp>,
    fates: HashMap<u128, Fate>,
    /// The keys of `fates`, oldest first.
    remembered: VecDeque<u128>,
    tally: Tally,
    since_last_look: Latencies,
    all: Latencies,
}

impl Oracle {
    /// Expects a message. Called before its change is produced.
    pub fn expect(&mut self, message: u128, changed_at: Timestamp) {
        self.outstanding.insert(message, changed_at);
    }

    /// Forbids a message: it must not arrive.
    pub fn forbid(&mut self, message: u128) {
        self.remember(message, Fate::Forbidden);
    }

    /// Records a message of a sample webhook with a valid signature.
    pub fn came(&mut self, message: u128, now: Timestamp) -> Finding {
        if let Some(changed_at) = self.outstanding.remove(&message) {
            self.remember(message, Fate::Delivered);
            return self.delivered(changed_at, now);
        }
        match self.fates.get_mut(&message) {
            Some(Fate::Delivered) => {
                self.tally.duplicates += 1;
                Finding::Duplicate
            }
            Some(Fate::Forbidden) => {
                self.tally.uncalled_for += 1;
                Finding::UncalledFor
            }
            Some(fate @ &mut Fate::Lost(changed_at)) => {
                *fate = Fate::Delivered;
                self.tally.lost -= 1;
                self.delivered(changed_at, now)
            }
            None => self.came_for_others(),
        }
    }

    /// Counts a message that is not the sample's.
    pub fn came_for_others(&mut self) -> Finding {
        self.tally.others += 1;
        Finding::Other
    }

    /// Counts a message of the sample with an invalid signature. The message is still expected.
    pub fn came_badly_signed(&mut self) {
        self.tally.bad_signatures += 1;
    }

    /// Counts overdue messages as lost.
    pub fn look_for_overdue(&mut self, now: Timestamp) {
        let late = |&changed_at: &Timestamp| now.duration_since(changed_at).unsigned_abs() > OVERDUE;
        let overdue = self.outstanding.extract_if(|_, changed_at| late(changed_at)).collect::<Vec<_>>();
        overdue.into_iter().for_each(|(message, changed_at)| self.lose(message, changed_at));
    }

    /// Counts all outstanding messages as lost, at the end of a run.
    pub fn close(&mut self) {
        let outstanding = std::mem::take(&mut self.outstanding);
        outstanding.into_iter().for_each(|(message, changed_at)| self.lose(message, changed_at));
    }

    /// Expected messages that have not arrived yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Latencies since the last call.
    pub fn take_latencies(&mut self) -> Latencies {
        std::mem::take(&mut self.since_last_look)
    }

    /// Latencies of the whole run.
    pub fn latencies(&self) -> &Latencies {
        &self.all
    }

    fn delivered(&mut self, changed_at: Timestamp, now: Timestamp) -> Finding {
        let latency = Duration::try_from(now.duration_since(changed_at)).unwrap_or_default();
        self.tally.delivered += 1;
        self.since_last_look.record(latency);
        self.all.record(latency);
        Finding::Delivered(latency)
    }

    fn lose(&mut self, message: u128, changed_at: Timestamp) {
        self.tally.lost += 1;
        self.remember(message, Fate::Lost(changed_at));
    }

    fn remember(&mut self, message: u128, fate: Fate) {
        match self.fates.entry(message) {
            Entry::Occupied(mut known) => {
                known.insert(fate);
            }
            Entry::Vacant(unknown) => {
                unknown.insert(fate);
                self.remembered.push_back(message);
            }
        }
        if self.remembered.len() > REMEMBERED
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.fates.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn expecting(messages: std::ops::Range<u128>) -> Oracle {
        let mut oracle = Oracle::default();
        messages.for_each(|number| oracle.expect(number, at(0)));
        oracle
    }

    #[test]
    fn message_that_arrives_once_is_delivered() {
        let mut oracle = expecting(0..2);
        assert_eq!(oracle.came(0, at(7)), Finding::Delivered(Duration::from_millis(7)));
        oracle.came(1, at(9));
        oracle.close();
        assert_eq!(oracle.tally(), Tally { delivered: 2, ..Tally::default() });
        assert!(oracle.tally().is_clean());
    }

    #[test]
    fn a_lost_message_is_found() {
        let mut oracle = expecting(0..2);
        oracle.came(0, at(1));
        oracle.close();
        assert_eq!(oracle.tally(), Tally { delivered: 1, lost: 1, ..Tally::default() });
        assert!(!oracle.tally().is_clean());
    }

    #[test]
    fn duplicate_message_is_found() {
        let mut oracle = expecting(0..1);
        oracle.came(0, at(1));
        assert_eq!(oracle.came(0, at(2)), Finding::Duplicate);
        assert!(!oracle.tally().is_clean());
    }

    #[test]
    fn forbidden_message_is_found() {
        let mut oracle = Oracle::default();
        oracle.forbid(5);
        assert_eq!(oracle.came(5, at(1)), Finding::UncalledFor);
        assert!(!oracle.tally().is_clean());
    }

    #[test]
    fn a_badly_signed_message_is_found_and_stays_outstanding() {
        let mut oracle = expecting(0..1);
        oracle.came_badly_signed();
        assert_eq!((oracle.tally().bad_signatures, oracle.outstanding()), (1, 1));
        assert!(!oracle.tally().is_clean());
    }

    #[test]
    fn unexpected_message_of_others_is_not_an_error() {
        let mut oracle = Oracle::default();
        assert_eq!(oracle.came(9, at(1)), Finding::Other);
        assert!(oracle.tally().is_clean());
    }

    #[test]
    fn overdue_message_is_lost_until_it_arrives() {
        let mut oracle = expecting(0..1);
        oracle.look_for_overdue(at(60_000));
        assert_eq!((oracle.tally().lost, oracle.outstanding()), (0, 1));
        oracle.look_for_overdue(at(60_001));
        assert_eq!((oracle.tally().lost, oracle.outstanding()), (1, 0));
        assert_eq!(oracle.came(0, at(61_000)), Finding::Delivered(Duration::from_secs(61)));
        assert_eq!(oracle.tally(), Tally { delivered: 1, ..Tally::default() });
        assert_eq!(oracle.came(0, at(61_001)), Finding::Duplicate);
    }

    #[test]
    fn memory_is_bounded() {
        let mut oracle = Oracle::default();
        for number in 0..REMEMBERED as u128 + 10 {
            oracle.expect(number, at(0));
            oracle.came(number, at(1));
        }
        assert_eq!((oracle.fates.len(), oracle.remembered.len()), (REMEMBERED, REMEMBERED));
    }
}
