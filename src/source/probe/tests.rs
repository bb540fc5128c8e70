use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;

fn cause(code: RDKafkaErrorCode, base: i64) -> ReadError {
    ReadError { code, text: format!("it failed at offset {base} for good") }
}

/// Searches in a log that ends at `end` and in which batches fail with a code. Also returns the probed offsets.
async fn searched(
    first: i64,
    named: i64,
    code: RDKafkaErrorCode,
    bad: &[std::ops::Range<i64>],
    end: i64,
) -> (SearchResult, BTreeSet<i64>) {
    let looked_at = Mutex::new(BTreeSet::new());
    let cause_there = cause(code, named);
    let found = search(first, &cause_there, |offset| {
        looked_at.lock().unwrap().insert(offset);
        let batch = bad.iter().find(|batch| batch.contains(&offset));
        let about = ReadError { code, text: String::new() }.scope();
        let seen = match batch {
            Some(batch) => {
                OffsetProbe::Failed(cause(code, if about == ErrorScope::Batch { batch.start } else { offset }))
            }
            None if offset >= end => OffsetProbe::End,
            None => OffsetProbe::Record,
        };
        async { seen }
    });
    let found = found.await;
    (found, looked_at.into_inner().unwrap())
}

#[tokio::test]
async fn search_skips_a_bad_batch_exactly_to_its_end() {
    let code = RDKafkaErrorCode::BadCompression;
    for last in 42..140 {
        // Another bad batch follows immediately or after two good records, and the log ends or continues.
        for (gap, more) in [(0, 0), (0, 50), (2, 3), (2, 400)] {
            let bad = [42..last + 1, last + 1 + gap..last + 1 + gap + more];
            let (found, looked_at) = searched(42, 42, code, &bad, bad[1].end).await;
            assert_eq!(found, SearchResult::Unreadable { first: 42, behind: last + 1 }, "{bad:?}");
            assert!(looked_at.len() <= 16, "{bad:?}: {looked_at:?}");
        }
    }
    let large = 0..1_000_000;
    let (found, looked_at) = searched(0, 0, code, &[large], 1_000_000).await;
    assert_eq!(found, SearchResult::Unreadable { first: 0, behind: 1_000_000 });
    assert!(looked_at.len() < 50, "{looked_at:?}");
    let (found, _) = searched(44, 42, code, &[42..46], 50).await;
    assert_eq!(found, SearchResult::Unreadable { first: 44, behind: 46 }, "the offsets before it were read");
}

#[tokio::test]
async fn readable_offsets_are_not_skipped() {
    let code = RDKafkaErrorCode::BadCompression;
    assert_eq!(searched(5, 5, code, &[], 10).await.0, SearchResult::Readable);
    assert_eq!(searched(10, 10, code, &[], 10).await.0, SearchResult::NoRecord);
    assert_eq!(search(5, &cause(code, 5), |_| async { OffsetProbe::TimedOut }).await, SearchResult::Inconclusive);
}

#[tokio::test]
async fn rewound_log_is_searched_at_the_failing_offset() {
    let (found, _) = searched(1000, 3, RDKafkaErrorCode::BadCompression, &[3..5], 10).await;
    assert_eq!(found, SearchResult::Unreadable { first: 3, behind: 5 });
}

#[tokio::test]
async fn offsets_that_a_broker_refuses_are_skipped_one_by_one() {
    let (found, _) = searched(5, 5, RDKafkaErrorCode::InvalidMessage, &[5..20], 20).await;
    assert_eq!(found, SearchResult::Unreadable { first: 5, behind: 6 });
}

#[tokio::test]
async fn ambiguous_error_counts_only_if_a_later_record_is_readable() {
    let code = RDKafkaErrorCode::Unknown;
    assert_eq!(searched(5, 5, code, &[5..20], 200).await.0, SearchResult::Unreadable { first: 5, behind: 6 });
    assert_eq!(searched(5, 5, code, &[5..i64::MAX], i64::MAX).await.0, SearchResult::Inconclusive);
    assert_eq!(
        searched(5, 5, code, &[5..20], 20).await.0,
        SearchResult::Inconclusive,
        "no record behind it shows the cause"
    );
}
