use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CLUSTER: &str = "cluster";

/// A record of a log with one record every ten milliseconds.
fn at(offset: i64) -> RecordFingerprint {
    RecordFingerprint { offset, timestamp: 1_000_000 + offset * 10 }
}

fn open<const N: usize>(ledger: &mut Ledger, offsets: [i64; N]) -> [u64; N] {
    offsets.map(|offset| ledger.open(at(offset)).unwrap().unwrap())
}

/// The metadata that a ledger commits.
fn committed(ledger: &Ledger) -> Option<CommitMetadata> {
    CommitMetadata::decode(CLUSTER, &ledger.commit_metadata(CLUSTER))
}

fn map(note: Option<&CommitMetadata>) -> Option<&CompletionMap> {
    note?.completion_map.as_ref()
}

#[test]
fn only_a_contiguous_prefix_is_safe() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.safe_offset(), None);
    let [a, b, c] = open(&mut ledger, [10, 11, 15]);
    ledger.settle_share(b);
    assert_eq!(ledger.safe_offset(), Some(10), "offsets before the first record are safe");
    ledger.settle_share(a);
    assert_eq!(ledger.safe_offset(), Some(12));
    ledger.settle_share(c);
    assert_eq!(ledger.safe_offset(), Some(16));
    assert_eq!((ledger.len(), ledger.unsettled()), (0, 0));
}

#[test]
fn offsets_without_a_record_are_passed_after_earlier_ones_settled() {
    let mut ledger = Ledger::default();
    let [a, b] = open(&mut ledger, [10, 12]);
    ledger.settle_share(a);
    let changes = ledger.change_count();
    ledger.skip_to(15);
    assert!(ledger.change_count() > changes, "a commit is due");
    assert_eq!(ledger.safe_offset(), Some(11), "a record is still open");
    ledger.settle_share(b);
    assert_eq!(ledger.safe_offset(), Some(15));
    assert_eq!(committed(&ledger).unwrap().log_record, at(12), "the last record identifies the log");
    ledger.skip_to(14);
    let [c] = open(&mut ledger, [15]);
    ledger.settle_share(c);
    assert_eq!(ledger.safe_offset(), Some(16));

    // No record was read since the ledger began: the commit's map is of a record that is gone.
    let mut next = Ledger::resume_from(committed(&with_a_straggler()));
    next.skip_to(40);
    assert_eq!(next.safe_offset(), Some(40));
    assert_eq!(map(committed(&next).as_ref()), None);
    // After the log went back nothing of this counts.
    assert_eq!(next.open(at(3)), Err(Rewound));
    next.skip_to(50);
    assert_eq!(next.safe_offset(), None);
    let entry = next.restart_at(at(3));
    next.settle_share(entry);
    assert_eq!(next.safe_offset(), Some(4));
}

#[test]
fn abandoned_share_blocks_the_prefix_permanently() {
    let mut ledger = Ledger::default();
    let [a, b] = open(&mut ledger, [1, 2]);
    ledger.add_share(a);
    ledger.settle_share(a);
    ledger.abandon_share(a);
    ledger.settle_share(b);
    assert_eq!(ledger.safe_offset(), Some(1));
    assert_eq!((ledger.len(), ledger.unsettled()), (2, 1));
    assert!(!ledger.has_open_shares());
}

#[test]
fn settled_calls_count_as_uncommitted_until_a_commit_is_acknowledged() {
    let mut ledger = Ledger::default();
    let [a, b, c] = open(&mut ledger, [1, 2, 3]);
    for entry in [a, b, c] {
        ledger.add_share(entry);
        ledger.settle_share(entry);
    }
    assert_eq!(ledger.uncommitted(), 0, "all of it is under way");
    ledger.settle_share(b);
    ledger.settle_share(c);
    assert_eq!(
        (ledger.uncommitted(), ledger.settled_with_calls()),
        (2, 2),
        "settled behind one that has not is settled too"
    );
    ledger.mark_committed(2);
    ledger.settle_share(a);
    assert_eq!((ledger.uncommitted(), ledger.settled_with_calls()), (1, 3));
    ledger.mark_committed(3);
    let [without_calls] = open(&mut ledger, [4]);
    ledger.settle_share(without_calls);
    assert_eq!((ledger.uncommitted(), ledger.settled_with_calls()), (0, 3), "read again, it would send nothing");
}

#[test]
fn rewound_log_restarts_the_ledger() {
    let mut ledger = Ledger::default();
    let [before] = open(&mut ledger, [5]);
    ledger.add_share(before);
    ledger.settle_share(before);
    assert_eq!(ledger.open(at(5)), Err(Rewound));
    ledger.settle_share(before);
    assert_eq!(ledger.open(at(3)), Err(Rewound));
    assert_eq!(ledger.safe_offset(), None, "the settled records are of a log that is gone");
    let after = ledger.restart_at(at(3));
    assert_eq!(ledger.safe_offset(), Some(3));
    assert_eq!(ledger.uncommitted(), 0, "records of the log that is gone can't be read again");
    assert!(after > before);
    ledger.settle_share(after);
    assert_eq!(ledger.safe_offset(), Some(4));
}

/// A ledger in which 10 is open, 11, 12 and 20 to 29 have settled, and 30 has not.
fn with_a_straggler() -> Ledger {
    let mut ledger = Ledger::default();
    open(&mut ledger, [10]);
    for offset in [11, 12].into_iter().chain(20..30) {
        let [entry] = open(&mut ledger, [offset]);
        ledger.settle_share(entry);
    }
    let [abandoned] = open(&mut ledger, [30]);
    ledger.abandon_share(abandoned);
    ledger
}

#[test]
fn settled_offsets_of_the_map_are_skipped_and_join_the_prefix() {
    let mut ledger = Ledger::resume_from(committed(&with_a_straggler()));
    let straggler = ledger.open(at(10)).unwrap().unwrap();
    assert_eq!(ledger.open(at(11)), Ok(None));
    assert_eq!(ledger.open(at(12)), Ok(None));
    let settled = |ledger: &Ledger| {
        let note = committed(ledger);
        map(note.as_ref()).unwrap().remaining().flatten().collect::<Vec<_>>()
    };
    assert_eq!(settled(&ledger), settled(&with_a_straggler()), "offsets that are still to be read are kept");
    (20..30).for_each(|offset| assert_eq!(ledger.open(at(offset)), Ok(None)));
    assert_eq!((ledger.len(), ledger.unsettled()), (13, 1));
    ledger.settle_share(straggler);
    assert_eq!(ledger.safe_offset(), Some(30));
    assert!(ledger.open(at(30)).unwrap().is_some(), "an abandoned record never settles");
}

#[test]
fn map_is_discarded_for_another_log() {
    let before = committed(&with_a_straggler());
    let opens = |first: RecordFingerprint, then: RecordFingerprint| {
        let mut ledger = Ledger::resume_from(before.clone());
        ledger.open(first).unwrap().unwrap();
        ledger.open(then).unwrap().is_some()
    };
    assert!(!opens(at(10), at(11)));
    assert!(opens(at(9), at(11)), "read from an earlier offset on");
    assert!(opens(at(0), at(11)), "recreated, and read from its start");
    assert!(opens(at(12), at(20)), "the straggler no longer exists");
    assert!(opens(RecordFingerprint { timestamp: 7, ..at(10) }, at(11)), "recreated, and longer than the old one");
    assert!(
        opens(at(10), RecordFingerprint { timestamp: at(31).timestamp, ..at(11) }),
        "truncated behind the straggler, and written again"
    );

    let mut ledger = Ledger::resume_from(before);
    let [entry] = open(&mut ledger, [10]);
    ledger.settle_share(entry);
    assert_eq!(ledger.open(at(5)), Err(Rewound));
    ledger.restart_at(at(10));
    assert!(ledger.open(at(11)).unwrap().is_some(), "recreated while it was read");
}

#[test]
fn record_before_the_offset_identifies_the_log() {
    let log = |ledger: &Ledger| committed(ledger).map(|note| note.log_record);
    let mut ledger = Ledger::default();
    assert_eq!(log(&ledger), None);
    let [a, b, _] = open(&mut ledger, [10, 11, 15]);
    assert_eq!(log(&ledger), Some(at(10)), "none before it is known");
    ledger.settle_share(a);
    ledger.settle_share(b);
    assert_eq!((ledger.safe_offset(), log(&ledger)), (Some(12), Some(at(11))));

    let mut next = Ledger::resume_from(committed(&ledger));
    let [entry] = open(&mut next, [15]);
    assert_eq!(log(&next), Some(at(11)), "the one known before the first record has settled");
    let mut set_back = Ledger::resume_from(committed(&ledger));
    open(&mut set_back, [3]);
    assert_eq!(log(&set_back), Some(at(3)));
    assert_eq!(next.open(at(0)), Err(Rewound));
    next.settle_share(entry);
    next.restart_at(at(0));
    assert_eq!(log(&next), Some(at(0)), "of the new log");
}

#[test]
fn commit_is_due_only_after_a_change() {
    let mut ledger = Ledger::default();
    let mut last = ledger.change_count();
    let mut changed = |ledger: &Ledger| std::mem::replace(&mut last, ledger.change_count()) != ledger.change_count();
    let [a, b, c] = open(&mut ledger, [1, 2, 3]);
    assert!(changed(&ledger), "the first record's offset");
    ledger.add_share(b);
    ledger.settle_share(b);
    open(&mut ledger, [4]);
    assert!(!changed(&ledger));
    ledger.settle_share(b);
    assert!(changed(&ledger), "the map");
    ledger.settle_share(a);
    assert!(changed(&ledger), "the offset");
    ledger.abandon_share(c);
    assert!(!changed(&ledger));
}

/// A record of the model: the gap to the offset before it, its shares, and whether one share is dropped.
fn record() -> impl Strategy<Value = (i64, u32, bool)> {
    (1..4i64, 1..4u32, prop::bool::weighted(0.05))
}

/// The model of a partition: its records, those under way, and the results of the others.
#[derive(Default)]
struct Model {
    /// Offsets, in order, with their shares and whether the last share is dropped.
    records: Vec<(i64, u32, bool)>,
    /// Entries with their offsets, the shares still to end, and whether the last one is dropped.
    open: Vec<(u64, i64, u32, bool)>,
    settled: BTreeSet<i64>,
}

impl Model {
    fn of(records: Vec<(i64, u32, bool)>) -> Self {
        let mut offset = 0;
        let placed = records.into_iter().map(|(gap, shares, dropped)| {
            offset += gap;
            (offset, shares, dropped)
        });
        Self { records: placed.collect(), ..Self::default() }
    }

    /// Reads the records from an offset on. A skipped record must have settled.
    fn read(&mut self, ledger: &mut Ledger, from: i64) {
        self.open.clear();
        for &(offset, shares, dropped) in self.records.iter().filter(|(offset, ..)| *offset >= from) {
            match ledger.open(at(offset)).unwrap() {
                None => assert!(self.settled.contains(&offset), "{offset} was lost"),
                Some(entry) => {
                    (1..shares).for_each(|_| ledger.add_share(entry));
                    self.open.push((entry, offset, shares, dropped));
                }
            }
        }
    }

    fn end_a_share(&mut self, ledger: &mut Ledger, pick: prop::sample::Index) {
        let at = pick.index(self.open.len());
        let (entry, offset, shares, dropped) = &mut self.open[at];
        *shares -= 1;
        let last = *shares == 0;
        if last && *dropped {
            ledger.abandon_share(*entry);
        } else {
            ledger.settle_share(*entry);
            if last {
                self.settled.insert(*offset);
            }
        }
        if last {
            self.open.remove(at);
        }
    }

    fn lowest_unsettled(&self) -> Option<i64> {
        self.records.iter().map(|(offset, ..)| *offset).find(|offset| !self.settled.contains(offset))
    }
}

proptest! {
    #[test]
    fn the_safe_offset_and_the_map_never_pass_an_unsettled_record(
        records in prop::collection::vec(record(), 1..60),
        lives in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..80), 1..4),
    ) {
        let mut model = Model::of(records);
        let mut safe = None;
        let mut before = None;
        for life in lives {
            // A killed owner leaves only its last commit.
            let mut ledger = Ledger::resume_from(before);
            let resumed = safe.unwrap_or(0);
            model.read(&mut ledger, resumed);
            for pick in life {
                if model.open.is_empty() {
                    break;
                }
                model.end_a_share(&mut ledger, pick);
                let now = ledger.safe_offset();
                prop_assert!(now >= safe, "the safe offset went back from {safe:?} to {now:?}");
                safe = now;
                let lowest = model.lowest_unsettled();
                prop_assert!(lowest.is_none_or(|lowest| safe <= Some(lowest)), "{safe:?} passes {lowest:?}");
            }
            // The map has every settled offset, and no other offset with a record.
            before = committed(&ledger);
            let mapped: BTreeSet<i64> = map(before.as_ref()).iter().flat_map(|map| map.remaining().flatten()).collect();
            let from = ledger.safe_offset().unwrap_or(resumed);
            for (offset, ..) in model.records.iter().filter(|(offset, ..)| *offset >= from) {
                prop_assert_eq!(mapped.contains(offset), model.settled.contains(offset), "{}", offset);
            }
            // The metadata has a record of the log, which is before the committed offset if there is one.
            let log = before.as_ref().map(|note| note.log_record);
            prop_assert!(log.is_none_or(|log| log == at(log.offset) && log.offset <= from), "{:?} of {}", log, from);
            prop_assert!(log.is_some() || ledger.safe_offset().is_none());
            let unsettled = model.records.iter().filter(|(offset, ..)| !model.settled.contains(offset)).count();
            prop_assert_eq!(ledger.unsettled(), unsettled);
            safe = Some(from);
        }
    }
}
