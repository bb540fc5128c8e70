//! Which records of a topic where calls wait are copies of records before them.
//!
//! What an instance wrote there before a crash, and has not committed that it did, another one writes again. Both would
//! go their whole way, and with each crash there would be more of them.
//!
//! Passing copies over loses nothing. A record that is handed on does not settle before its call has ended, or stands
//! elsewhere with a higher count; until then whoever takes the partition over reads it again, with nothing in mind. So of
//! the records of a call that is made once, the one with the highest count is never passed over, but for equals of it
//! that stand behind it. That takes each write to be counted: a call that an earlier version has had, which did not
//! count, is never taken for a copy again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::id::{CallId, WriteCount};
use crate::settle::StoredCall;

/// How many calls of a partition are kept in mind at most, in 48 bytes each. A copy comes as long behind as it took
/// another instance to take over, and then about this many calls may have come between.
const SLOTS: usize = 8192;

/// The calls that have come of a partition since it was assigned, the latest of each slot.
#[derive(Default)]
pub struct Deduplicator {
    /// Empty until the first call comes: most tiers have none, most of the time.
    slots: Vec<Option<Come>>,
    /// The offset behind the last one.
    next: i64,
}

#[derive(Clone, Copy)]
struct Come {
    call: CallId,
    /// A hash of its row change's record: one that is published again, or a topic made anew, makes another call though
    /// it has the same id.
    record: u64,
    step: WriteCount,
}

impl Deduplicator {
    /// Whether the record of a call is a copy of one that has come before, and to be passed over; if not, it has come. A
    /// record that comes again, since its log has gone back, is none.
    pub fn is_duplicate(&mut self, kept: &StoredCall, offset: i64) -> bool {
        if offset < self.next {
            self.slots.clear();
        }
        self.next = offset.saturating_add(1);
        self.slots.resize(SLOTS, None);
        let come = Come { call: kept.call, record: record(kept), step: kept.step };
        // An id is a hash, so its bits are as good as random.
        let slot = &mut self.slots[kept.call.0.as_u128() as usize % SLOTS];
        let is_copy = slot.is_some_and(|before| come.is_copy_of(before));
        if !is_copy {
            *slot = Some(come);
        }
        is_copy
    }
}

impl Come {
    fn is_copy_of(self, before: Self) -> bool {
        (self.call, self.record) == (before.call, before.record) && self.step.is_no_further_than(before.step)
    }
}

fn record(kept: &StoredCall) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&kept.place, kept.appended_ms).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
