//! The in-order book of a partition's open records: what has settled, and so up to where may be committed.

use std::collections::VecDeque;

/// A record's offset is not greater than the one read before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewound;

/// The open records of one partition, in the order of their offsets.
///
/// A record is entered when it is read and leaves when it and all before it have settled, so the offset to
/// commit only ever grows by a contiguous prefix. Offsets may have gaps (compaction, transaction markers).
#[derive(Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    /// The number of the first entry still in the book; entries are numbered from 0 in reading order.
    first: u64,
    /// The offset after the last record of the settled prefix; None until one has settled.
    safe: Option<i64>,
    /// Entries with an open share.
    under_way: usize,
    /// The log went back, and the book has not begun anew: its offsets are of a log that is gone.
    rewound: bool,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    /// Shares not settled yet.
    open: u32,
    /// A share was dropped unsettled: the entry keeps the prefix from growing for good.
    abandoned: bool,
}

impl Ledger {
    /// Enters the next record with one open share and returns its entry's number.
    ///
    /// # Errors
    /// The offset is not greater than the one before it: the partition's log was cut or made anew. From then on
    /// no offset is safe until [`Ledger::restart_at`].
    pub fn open(&mut self, offset: i64) -> Result<u64, Rewound> {
        let after_last = match self.entries.back() {
            Some(last) => offset > last.offset,
            None => self.safe.is_none_or(|safe| offset >= safe),
        };
        if after_last && !self.rewound {
            return Ok(self.push(offset));
        }
        self.rewound = true;
        self.safe = None;
        Err(Rewound)
    }

    /// Forgets everything and enters a record at any offset, which is safe to commit at once: the group's own
    /// offset is of the log that is gone. Entry numbers go on growing, so that a receipt
    /// of before can't be taken for one of after.
    ///
    /// # Panics
    /// Something is still under way.
    pub fn restart_at(&mut self, offset: i64) -> u64 {
        assert_eq!(self.under_way, 0, "a ledger restarts only when nothing is under way");
        self.first += self.entries.len() as u64;
        self.entries.clear();
        self.rewound = false;
        self.safe = Some(offset);
        self.push(offset)
    }

    fn push(&mut self, offset: i64) -> u64 {
        self.entries.push_back(Entry { offset, open: 1, abandoned: false });
        self.under_way += 1;
        self.first + self.entries.len() as u64 - 1
    }

    /// Adds an open share to an entry that has one already.
    pub fn add_share(&mut self, entry: u64) {
        self.entry(entry).open += 1;
    }

    /// Settles one share. Returns true if it was the entry's last one.
    pub fn settle_share(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        entry.open -= 1;
        let closed = entry.open == 0;
        if closed {
            self.under_way -= 1;
            self.advance();
        }
        closed
    }

    /// Ends one share without settling it: the entry never will. Returns true if it was the entry's last one.
    pub fn abandon_share(&mut self, entry: u64) -> bool {
        let entry = self.entry(entry);
        entry.open -= 1;
        entry.abandoned = true;
        let closed = entry.open == 0;
        self.under_way -= usize::from(closed);
        closed
    }

    /// The offset that may be committed: that of the next record to read after a restart. None until a record has settled.
    pub fn safe_offset(&self) -> Option<i64> {
        self.safe
    }

    /// Records in the book: read, and not yet part of the settled prefix.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether some record still has an open share: something is under way that may settle.
    pub fn is_under_way(&self) -> bool {
        self.under_way > 0
    }

    fn advance(&mut self) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.open == 0 && !entry.abandoned) {
            if !self.rewound {
                self.safe = Some(entry.offset + 1);
            }
            self.entries.pop_front();
            self.first += 1;
        }
    }

    fn entry(&mut self, number: u64) -> &mut Entry {
        let index = number.checked_sub(self.first).expect("an open share's entry is still in the book");
        self.entries.get_mut(index as usize).expect("an entry's number comes from open()")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_contiguous_prefix_is_safe() {
        let mut ledger = Ledger::default();
        let (a, b, c) = (ledger.open(10).unwrap(), ledger.open(11).unwrap(), ledger.open(15).unwrap());
        ledger.settle_share(b);
        assert_eq!(ledger.safe_offset(), None);
        ledger.settle_share(a);
        assert_eq!(ledger.safe_offset(), Some(12));
        ledger.settle_share(c);
        assert_eq!(ledger.safe_offset(), Some(16));
        assert_eq!(ledger.len(), 0);
    }

    #[test]
    fn an_abandoned_share_holds_the_prefix_for_good() {
        let mut ledger = Ledger::default();
        let (a, b) = (ledger.open(1).unwrap(), ledger.open(2).unwrap());
        ledger.add_share(a);
        ledger.settle_share(a);
        ledger.abandon_share(a);
        ledger.settle_share(b);
        assert_eq!(ledger.safe_offset(), None);
        assert!(!ledger.is_under_way());
    }

    #[test]
    fn a_log_that_went_back_starts_a_new_book() {
        let mut ledger = Ledger::default();
        let before = ledger.open(5).unwrap();
        assert_eq!(ledger.open(5), Err(Rewound));
        ledger.settle_share(before);
        assert_eq!(ledger.open(3), Err(Rewound));
        assert_eq!(ledger.safe_offset(), None, "what has settled is of a log that is gone");
        let after = ledger.restart_at(3);
        assert_eq!(ledger.safe_offset(), Some(3));
        assert!(after > before);
        ledger.settle_share(after);
        assert_eq!(ledger.safe_offset(), Some(4));
    }

    /// What happens to one record: its offset's gap to the one before, its shares, and whether one is dropped.
    fn record() -> impl Strategy<Value = (i64, u32, bool)> {
        (1..4i64, 1..4u32, prop::bool::weighted(0.05))
    }

    proptest! {
        #[test]
        fn the_safe_offset_never_passes_an_unsettled_record(
            records in prop::collection::vec(record(), 1..60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut ledger = Ledger::default();
            let mut offset = 0;
            // (entry, offset, shares still to end, whether the last one is dropped)
            let mut open = Vec::new();
            for (gap, shares, dropped) in records {
                offset += gap;
                let entry = ledger.open(offset).unwrap();
                (1..shares).for_each(|_| ledger.add_share(entry));
                open.push((entry, offset, shares, dropped));
            }
            let last = offset;
            let mut lowest_dropped = i64::MAX;
            let mut safe = None;
            for pick in order {
                if open.is_empty() {
                    break;
                }
                let at = pick.index(open.len());
                let (entry, offset, shares, dropped) = &mut open[at];
                *shares -= 1;
                if *shares == 0 && *dropped {
                    ledger.abandon_share(*entry);
                    lowest_dropped = lowest_dropped.min(*offset);
                    open.remove(at);
                } else {
                    ledger.settle_share(*entry);
                    if *shares == 0 {
                        open.remove(at);
                    }
                }
                let lowest_open = open.iter().map(|(_, offset, ..)| *offset).min().unwrap_or(i64::MAX).min(lowest_dropped);
                let now = ledger.safe_offset();
                prop_assert!(now >= safe, "it went back from {safe:?} to {now:?}");
                safe = now;
                prop_assert!(safe.is_none_or(|safe| safe <= lowest_open), "{safe:?} passes {lowest_open}");
            }
            if open.is_empty() && lowest_dropped == i64::MAX {
                prop_assert_eq!(safe, Some(last + 1));
            }
        }
    }
}
