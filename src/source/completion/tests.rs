use proptest::prelude::*;

use super::*;

const CLUSTER: &str = "b3V0aG9vay10ZXN0cy0wMQ";
const HEAD: RecordFingerprint = RecordFingerprint { offset: 41, timestamp: 1_700_000_000_000 };

/// The record before the head.
const LOG: RecordFingerprint = RecordFingerprint { offset: 40, timestamp: 1_699_999_999_000 };

fn encode(settled: &[Range<i64>]) -> String {
    CommitMetadata::encode(CLUSTER, LOG, HEAD, HEAD.timestamp + 5, settled.iter().cloned())
}

/// The map of commit metadata.
fn map(text: &str) -> Option<CompletionMap> {
    CommitMetadata::decode(CLUSTER, text)?.completion_map
}

fn at(offset: i64) -> RecordFingerprint {
    RecordFingerprint { offset, ..HEAD }
}

#[test]
fn a_map_is_written_as_documented() {
    let (log, head) = (RecordFingerprint { offset: 2, timestamp: 31 }, RecordFingerprint { offset: 3, timestamp: 33 });
    let text = CommitMetadata::encode("c", log, head, 0, [5..7, 8..108].into_iter());
    assert_eq!(text, "outhook2:c:CfDhBABCBkD.");
    assert_eq!(CommitMetadata::encode("c", log, head, 0, std::iter::empty()), "outhook2:c:Cf.");
}

#[test]
fn map_of_an_earlier_version_is_read_and_its_head_marks_the_log() {
    let note = CommitMetadata::decode("c", "outhook1:c:DhBABCBkD.").unwrap();
    let head = RecordFingerprint { offset: 3, timestamp: 33 };
    let completion = CompletionMap { head, newest_timestamp: 0, settled: [5..7, 8..108].into() };
    assert_eq!(note, CommitMetadata { log_record: head, completion_map: Some(completion) });
    assert_eq!(CommitMetadata::decode("c", "outhook1:c:DhB."), None);
}

#[test]
fn a_record_of_the_log_may_have_the_largest_offset() {
    let log = RecordFingerprint { offset: i64::MAX, timestamp: 0 };
    let text = CommitMetadata::encode(CLUSTER, log, log, 0, std::iter::empty());
    assert_eq!(CommitMetadata::decode(CLUSTER, &text), Some(CommitMetadata { log_record: log, completion_map: None }));
}

#[test]
fn no_settled_offsets_give_no_map() {
    assert_eq!(
        CommitMetadata::decode(CLUSTER, &encode(&[])),
        Some(CommitMetadata { log_record: LOG, completion_map: None })
    );
    assert_eq!(CommitMetadata::decode(CLUSTER, ""), None);
}

#[test]
fn a_map_that_does_not_fit_keeps_its_lowest_offsets() {
    let settled: Vec<_> = (0..10_000).map(|n| 42 + n * 3..44 + n * 3).collect();
    let text = encode(&settled);
    assert!(text.len() > MAX_BYTES - 2 && text.len() <= MAX_BYTES, "{} bytes", text.len());
    let map = map(&text).unwrap();
    assert!(map.settled.len() > 2000, "{} ranges", map.settled.len());
    assert_eq!(map.settled, &settled[..map.settled.len()]);
}

#[test]
fn foreign_or_broken_metadata_is_not_a_map() {
    let text = encode(&[50..60, 61..62]);
    assert!(CommitMetadata::decode(CLUSTER, &text).is_some());
    assert_eq!(CommitMetadata::decode("another", &text), None);
    assert_eq!(CommitMetadata::decode("", &text), None);
    assert_eq!(CommitMetadata::decode(CLUSTER, &text.replace("outhook2", "outhook3")), None);
    assert_eq!(CommitMetadata::decode(CLUSTER, &text.replace(':', ": ")), None);
    for cut in 0..text.len() {
        assert_eq!(CommitMetadata::decode(CLUSTER, &text[..cut]), None, "cut to {cut} bytes");
    }
    let too_large = format!("{PREFIX}{CLUSTER}:____________________.");
    assert_eq!(CommitMetadata::decode(CLUSTER, &too_large), None);
    let too_far =
        CommitMetadata::encode(CLUSTER, LOG, HEAD, 0, std::iter::once(i64::MAX - 1..i64::MAX)).replace('.', "CC.");
    assert_eq!(CommitMetadata::decode(CLUSTER, &too_far), None);
}

#[test]
fn record_newer_than_the_map_invalidates_it() {
    let mut map = map(&encode(&[42..50, 60..70])).unwrap();
    assert!(
        map.take_settled(at(42)) && map.take_settled(at(45)) && !map.take_settled(at(55)) && map.take_settled(at(60))
    );
    assert!(map.remaining().eq(std::iter::once(61..70)));
    assert!(map.take_settled(RecordFingerprint { offset: 61, timestamp: HEAD.timestamp + 5 }));
    assert!(!map.take_settled(RecordFingerprint { offset: 62, timestamp: HEAD.timestamp + 6 }));
    assert!(!map.take_settled(at(63)), "its offsets were reused");
}

/// Ordered ranges that do not touch, as gaps and lengths from the head on.
fn ranges() -> impl Strategy<Value = Vec<Range<i64>>> {
    let gap = prop_oneof![8 => 1..10i64, 2 => 1..5000i64, 1 => 1..1i64 << 40];
    let length = prop_oneof![8 => 1..10i64, 2 => 1..5000i64, 1 => 1..1i64 << 40];
    prop::collection::vec((gap, length), 0..3000).prop_map(|pairs| {
        let mut behind = HEAD.offset;
        let range = |(gap, length)| {
            let start = behind + gap;
            behind = start + length;
            start..behind
        };
        pairs.into_iter().map(range).collect()
    })
}

proptest! {
    #[test]
    fn map_round_trips_from_the_lowest_offset_on(settled in ranges()) {
        let text = encode(&settled);
        prop_assert!(text.len() <= MAX_BYTES);
        prop_assert_eq!(CommitMetadata::decode(CLUSTER, &text).unwrap().log_record, LOG);
        match map(&text) {
            None => prop_assert!(settled.is_empty()),
            Some(map) => {
                prop_assert!(map.starts_at(HEAD));
                prop_assert_eq!(map.newest(), HEAD.timestamp + 5);
                prop_assert!(!map.settled.is_empty());
                prop_assert_eq!(map.settled.clone(), settled[..map.settled.len()].to_vec());
                prop_assert!(map.settled.len() == settled.len() || text.len() > MAX_BYTES - 20, "a range that fits");
            }
        }
    }

    #[test]
    fn metadata_never_panics(text in ".*", digits in "[A-Za-z0-9_-]{0,60}", cut in any::<prop::sample::Index>()) {
        let _ = CommitMetadata::decode("", &text);
        for prefix in [PREFIX, PREFIX_V1] {
            let Some(note) = CommitMetadata::decode("", &format!("{prefix}:{digits}.")) else { continue };
            prop_assert!(note.log_record.offset >= 0);
            let Some(mut map) = note.completion_map else { continue };
            prop_assert!(map.head.offset >= 0);
            prop_assert!(map.settled.iter().all(|range| range.start > map.head.offset && range.start <= range.end));
            prop_assert!(!map.take_settled(map.head));
            prop_assert!(!map.take_settled(RecordFingerprint { offset: i64::MAX, timestamp: 0 }), "no record is behind the last offset");
        }
        let whole = encode(&[50..60, 70..1000]);
        let cut = cut.index(whole.len());
        prop_assert_eq!(CommitMetadata::decode(CLUSTER, &whole[..cut]), None);
    }
}
