use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::id::RecordPosition;
use crate::settle::samples::sample_call;

fn of(number: u128, step: WriteCount) -> StoredCall {
    StoredCall { call: CallId(uuid::Uuid::from_u128(number)), write_count: step, ..sample_call() }
}

fn written(writes: u32) -> WriteCount {
    WriteCount { writes: Some(writes), ..WriteCount::FIRST }
}

const UNCOUNTED: WriteCount = WriteCount { writes: None, ..WriteCount::FIRST };

#[test]
fn record_not_further_along_than_an_earlier_one_is_a_duplicate() {
    let mut copies = Deduplicator::default();
    let mut is_copy = |number, writes, offset| copies.is_duplicate(&of(number, written(writes)), offset);
    assert!(!is_copy(1, 1, 10));
    assert!(is_copy(1, 1, 11), "the same once more");
    assert!(!is_copy(1, 3, 12), "the call has been in other topics meanwhile");
    assert!(is_copy(1, 2, 13), "an earlier record was further along");
    assert!(!is_copy(2, 1, 14), "another call");
    assert!(!is_copy(1, 4, 15));
}

#[test]
fn requested_call_is_not_a_duplicate_of_earlier_records() {
    let mut copies = Deduplicator::default();
    assert!(!copies.is_duplicate(&of(1, written(9)), 0));
    assert!(!copies.is_duplicate(&of(1, WriteCount::requested(1000).next()), 1), "redriven");
    assert!(!copies.is_duplicate(&of(1, WriteCount::requested(2000).next()), 2), "and again");
    assert!(copies.is_duplicate(&of(1, WriteCount::requested(2000).next()), 3));
}

#[test]
fn another_source_record_with_the_same_id_is_not_a_duplicate() {
    let mut copies = Deduplicator::default();
    let first = of(1, written(3));
    assert!(!copies.is_duplicate(&first, 0));
    let source_position = RecordPosition { offset: first.source_position.offset + 1, ..first.source_position.clone() };
    assert!(!copies.is_duplicate(&StoredCall { source_position, ..of(1, written(1)) }, 1), "published again");
    let appended_ms = first.appended_ms + 1;
    assert!(!copies.is_duplicate(&StoredCall { appended_ms, ..of(1, written(1)) }, 2), "in a recreated topic");
}

#[test]
fn records_without_a_write_count_are_never_duplicates() {
    let mut copies = Deduplicator::default();
    assert!(!copies.is_duplicate(&of(1, written(5)), 0));
    assert!(!copies.is_duplicate(&of(1, UNCOUNTED), 1));
    assert!(!copies.is_duplicate(&of(1, written(5)), 2), "it may be the only one by now");
    assert!(!copies.is_duplicate(&of(1, UNCOUNTED.next()), 3));
}

#[test]
fn records_of_a_recreated_log_are_not_copies() {
    let mut copies = Deduplicator::default();
    assert!(!copies.is_duplicate(&of(1, written(1)), 10));
    assert!(!copies.is_duplicate(&of(1, written(1)), 10), "the record itself, not one behind it");
}

/// The records of a call in the partitions where it waits, and the state of each partition's owner.
#[derive(Default)]
struct Waiting {
    partitions: [Partition; 3],
    ended: bool,
}

#[derive(Default)]
struct Partition {
    log: Vec<WriteCount>,
    /// Contents of the completion map, by offset.
    committed: BTreeSet<usize>,
    /// The owner's position, the offsets that it has handed on and not settled, and the offsets that it has settled.
    next: usize,
    open: Vec<usize>,
    settled: BTreeSet<usize>,
    copies: Deduplicator,
}

#[derive(Debug, Clone)]
enum Act {
    /// Reads the next record, and hands it on unless it is a copy.
    Read,
    /// Writes a handed-on record, selected by `open`, to this or another partition, and settles it.
    Write {
        open: usize,
        to: usize,
        counts: bool,
    },
    Commit,
    /// Another owner continues from the committed state.
    Crash,
}

impl Partition {
    fn read(&mut self) {
        while self.committed.contains(&self.next) {
            self.next += 1;
        }
        let Some(step) = self.log.get(self.next) else { return };
        match self.copies.is_duplicate(&of(1, *step), self.next as i64) {
            true => drop(self.settled.insert(self.next)),
            false => self.open.push(self.next),
        }
        self.next += 1;
    }

    /// Takes one of the handed-on records.
    fn take(&mut self, number: usize) -> Option<WriteCount> {
        let place = number.checked_rem(self.open.len())?;
        let offset = self.open.swap_remove(place);
        self.settled.insert(offset);
        Some(self.log[offset])
    }

    fn crash(&mut self) {
        let (log, committed) = (std::mem::take(&mut self.log), std::mem::take(&mut self.committed));
        *self = Self { log, settled: committed.clone(), committed, ..Self::default() };
    }
}

impl Waiting {
    fn act(&mut self, at: usize, act: &Act) {
        let partition = &mut self.partitions[at];
        match *act {
            Act::Read => partition.read(),
            Act::Write { open, to, counts } => {
                let step = partition.take(open).map(|step| if counts { step.next() } else { UNCOUNTED });
                self.partitions[to].log.extend(step);
            }
            Act::Commit => partition.committed.clone_from(&partition.settled),
            Act::Crash => partition.crash(),
        }
    }

    /// Reads all remaining records, and ends the calls that are handed on.
    fn end(&mut self) {
        for partition in &mut self.partitions {
            while partition.next < partition.log.len() {
                partition.read();
            }
            self.ended |= !partition.open.is_empty();
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let write = (any::<usize>(), 0..3usize, prop::bool::weighted(0.9));
    prop_oneof![
        4 => Just(Act::Read),
        4 => write.prop_map(|(open, to, counts)| Act::Write { open, to, counts }),
        2 => Just(Act::Commit),
        1 => Just(Act::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// With any order of reads, writes, commits and takeovers, also by versions that don't count, the call ends once
    /// all remaining records are read.
    #[test]
    fn no_call_is_lost(acts in prop::collection::vec((0..3usize, act()), 0..200)) {
        let mut waiting = Waiting::default();
        waiting.partitions[0].log.push(WriteCount::FIRST.next());
        acts.iter().for_each(|(at, act)| waiting.act(*at, act));
        waiting.end();
        prop_assert!(waiting.ended);
    }

    /// Without a crash, no call is taken for a copy, even if several calls share a slot.
    #[test]
    fn normal_progress_is_never_a_duplicate(calls in prop::collection::vec(0..4u128, 0..200)) {
        let mut copies = Deduplicator::default();
        let mut steps = [WriteCount::FIRST; 4];
        for (offset, number) in calls.into_iter().enumerate() {
            let step = &mut steps[number as usize];
            *step = step.next();
            let id = number % 2 + number / 2 * MAX_REMEMBERED_CALLS as u128;
            prop_assert!(!copies.is_duplicate(&of(id, *step), offset as i64));
        }
    }
}
