//! The oracle: knows which messages must come, ticks them off, and finds what is lost, doubled or uncalled for.
//!
//! Its memory is bounded however long it runs: the feed stops while too much is outstanding, and of what is
//! settled only the last [`REMEMBERED`] messages are known by name.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::latency::Latencies;
use crate::id::MessageId;

/// An expected message that has not come after this time counts as lost; if it comes after all, it no longer does.
const OVERDUE: Duration = Duration::from_secs(60);

/// Messages that are remembered after they came, or because they must never come.
const REMEMBERED: usize = 250_000;

/// What is counted, over the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Expected messages that came with a good signature.
    pub delivered: u64,
    /// Expected messages that did not come.
    pub lost: u64,
    /// Messages that came once more after they had been accepted.
    pub duplicates: u64,
    pub bad_signatures: u64,
    /// Messages of sample changes that should not have fired.
    pub uncalled_for: u64,
    /// Messages of changes or webhooks that are not the sample's.
    pub others: u64,
}

impl Tally {
    /// All messages that came.
    pub(super) fn messages(&self) -> u64 {
        self.delivered + self.duplicates + self.bad_signatures + self.uncalled_for + self.others
    }

    /// Whether nothing was lost, doubled, badly signed or uncalled for.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicates == 0 && self.bad_signatures == 0 && self.uncalled_for == 0
    }
}

/// What a message that came turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Expected, and here after this time since its change.
    Delivered(Duration),
    Duplicate,
    UncalledFor,
    /// Of somebody else's change or webhook.
    Other,
}

/// Why a message is remembered.
#[derive(Clone, Copy)]
enum Fate {
    Delivered,
    /// Its change must not fire its event.
    Forbidden,
    /// Counted as lost; it knows when its change was made.
    Lost(Timestamp),
}

/// The book of what must come and what came.
#[derive(Default)]
pub(super) struct Oracle {
    outstanding: HashMap<MessageId, Timestamp>,
    fates: HashMap<MessageId, Fate>,
    /// The keys of `fates`, the oldest first.
    remembered: VecDeque<MessageId>,
    tally: Tally,
    since_last_look: Latencies,
    all: Latencies,
}

impl Oracle {
    /// This message must come; said before its change is produced.
    pub(super) fn expect(&mut self, message: MessageId, changed_at: Timestamp) {
        self.outstanding.insert(message, changed_at);
    }

    /// This message must not come.
    pub(super) fn forbid(&mut self, message: MessageId) {
        self.remember(message, Fate::Forbidden);
    }

    /// A message of one of the sample's webhooks came, with a good signature.
    pub(super) fn came(&mut self, message: MessageId, now: Timestamp) -> Finding {
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

    /// A message came for somebody else.
    pub(super) fn came_for_others(&mut self) -> Finding {
        self.tally.others += 1;
        Finding::Other
    }

    /// A message of the sample came with a signature that does not verify; it still must come.
    pub(super) fn came_badly_signed(&mut self) {
        self.tally.bad_signatures += 1;
    }

    /// Counts what is overdue as lost.
    pub(super) fn look_for_overdue(&mut self, now: Timestamp) {
        let late = |&changed_at: &Timestamp| now.duration_since(changed_at).unsigned_abs() > OVERDUE;
        let overdue = self.outstanding.extract_if(|_, changed_at| late(changed_at)).collect::<Vec<_>>();
        overdue.into_iter().for_each(|(message, changed_at)| self.lose(message, changed_at));
    }

    /// Nothing more will come: all that is outstanding is lost.
    pub(super) fn close(&mut self) {
        let outstanding = std::mem::take(&mut self.outstanding);
        outstanding.into_iter().for_each(|(message, changed_at)| self.lose(message, changed_at));
    }

    /// Messages that must still come.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Latencies since this was asked last.
    pub(super) fn take_latencies(&mut self) -> Latencies {
        std::mem::take(&mut self.since_last_look)
    }

    /// Latencies of the whole run.
    pub(super) fn latencies(&self) -> &Latencies {
        &self.all
    }

    fn delivered(&mut self, changed_at: Timestamp, now: Timestamp) -> Finding {
        let latency = Duration::try_from(now.duration_since(changed_at)).unwrap_or_default();
        self.tally.delivered += 1;
        self.since_last_look.record(latency);
        self.all.record(latency);
        Finding::Delivered(latency)
    }

    fn lose(&mut self, message: MessageId, changed_at: Timestamp) {
        self.tally.lost += 1;
        self.remember(message, Fate::Lost(changed_at));
    }

    fn remember(&mut self, message: MessageId, fate: Fate) {
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
    use uuid::Uuid;

    use super::*;

    fn message(number: u128) -> MessageId {
        MessageId(Uuid::from_u128(number))
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn expecting(messages: std::ops::Range<u128>) -> Oracle {
        let mut oracle = Oracle::default();
        messages.for_each(|number| oracle.expect(message(number), at(0)));
        oracle
    }

    #[test]
    fn what_comes_once_is_delivered() {
        let mut oracle = expecting(0..2);
        assert_eq!(oracle.came(message(0), at(7)), Finding::Delivered(Duration::from_millis(7)));
        oracle.came(message(1), at(9));
        oracle.close();
        assert_eq!(oracle.tally(), Tally { delivered: 2, ..Tally::default() });
        assert!(oracle.tally().is_clean());
    }

    #[test]
    fn a_lost_message_is_found() {
        let mut oracle = expecting(0..2);
        oracle.came(message(0), at(1));
        oracle.close();
        assert_eq!(oracle.tally(), Tally { delivered: 1, lost: 1, ..Tally::default() });
        assert!(!oracle.tally().is_clean());
    }

    #[test]
    fn a_doubled_message_is_found() {
        let mut oracle = expecting(0..1);
        oracle.came(message(0), at(1));
        assert_eq!(oracle.came(message(0), at(2)), Finding::Duplicate);
        assert!(!oracle.tally().is_clean());
    }

    #[test]
    fn a_message_that_must_not_come_is_found() {
        let mut oracle = Oracle::default();
        oracle.forbid(message(5));
        assert_eq!(oracle.came(message(5), at(1)), Finding::UncalledFor);
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
    fn what_nobody_here_expects_is_no_error() {
        let mut oracle = Oracle::default();
        assert_eq!(oracle.came(message(9), at(1)), Finding::Other);
        assert!(oracle.tally().is_clean());
    }

    #[test]
    fn an_overdue_message_is_lost_until_it_comes() {
        let mut oracle = expecting(0..1);
        oracle.look_for_overdue(at(60_000));
        assert_eq!((oracle.tally().lost, oracle.outstanding()), (0, 1));
        oracle.look_for_overdue(at(60_001));
        assert_eq!((oracle.tally().lost, oracle.outstanding()), (1, 0));
        assert_eq!(oracle.came(message(0), at(61_000)), Finding::Delivered(Duration::from_secs(61)));
        assert_eq!(oracle.tally(), Tally { delivered: 1, ..Tally::default() });
        assert_eq!(oracle.came(message(0), at(61_001)), Finding::Duplicate);
    }

    #[test]
    fn memory_is_bounded() {
        let mut oracle = Oracle::default();
        for number in 0..REMEMBERED as u128 + 10 {
            oracle.expect(message(number), at(0));
            oracle.came(message(number), at(1));
        }
        assert_eq!((oracle.fates.len(), oracle.remembered.len()), (REMEMBERED, REMEMBERED));
    }
}
