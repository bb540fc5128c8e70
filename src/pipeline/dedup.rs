//! Detects copies of waiting calls: records that repeat an earlier record of their topic.
//!
//! An instance that crashes may have written calls to a topic without committing that. The next instance writes them
//! again. Without this check all copies would be processed, and each further crash would multiply them.
//!
//! Skipping copies loses nothing. A record that is handed on does not settle before its call has ended, or is stored
//! elsewhere with a higher write count. Until then, the next owner of the partition reads the record again, and that
//! owner remembers nothing. So of the records of one call, the one with the highest count is never skipped; only
//! equal records behind it are. This requires that each write is counted. A call that was written by an earlier
//! version, which did not count, is never taken for a copy again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::deliver::WriteCount;
use crate::id::CallId;
use crate::settle::StoredCall;

/// Max calls of a partition that are remembered, at 48 bytes each. A copy follows its original after about the time
/// that another instance took to take over. About this many calls may be between them.
const MAX_REMEMBERED_CALLS: usize = 8192;

/// The calls that were read from a partition since it was assigned: the latest one of each slot.
#[derive(Default)]
pub struct Deduplicator {
    /// Empty until the first call is read: most retry topics are empty most of the time.
    slots: Vec<Option<SeenCall>>,
    /// The offset behind the last one.
    next_offset: i64,
}

#[derive(Clone, Copy)]
struct SeenCall {
    call_id: CallId,
    /// A hash of the source record's place and time. A record that is published again or is in a recreated topic
    /// makes another call, although the id is the same.
    record_hash: u64,
    write_count: WriteCount,
}

impl Deduplicator {
    /// Whether the record of a call is a copy of an earlier record, and must be skipped. Otherwise remembers the
    /// record. A record that is read again because its log went back is not a copy.
    pub fn is_duplicate(&mut self, stored: &StoredCall, offset: i64) -> bool {
        if offset < self.next_offset {
            self.slots.clear();
        }
        self.next_offset = offset.saturating_add(1);
        self.slots.resize(MAX_REMEMBERED_CALLS, None);
        let current = SeenCall { call_id: stored.call, record_hash: record(stored), write_count: stored.write_count };
        // An id is a hash, so its bits are random enough.
        let slot = &mut self.slots[stored.call.0.as_u128() as usize % MAX_REMEMBERED_CALLS];
        let is_copy = slot.is_some_and(|before| current.is_copy_of(before));
        if !is_copy {
            *slot = Some(current);
        }
        is_copy
    }
}

impl SeenCall {
    fn is_copy_of(self, before: Self) -> bool {
        (self.call_id, self.record_hash) == (before.call_id, before.record_hash)
            && self.write_count.is_no_further_than(before.write_count)
    }
}

fn record(stored: &StoredCall) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&stored.source_position, stored.appended_ms).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
