use super::*;

const BAD_BATCH: &str =
    "Decompression (codec 0x4) of message at 42 of 3012 bytes failed: Local: Invalid compressed data";

fn cause(code: ErrorCode, text: &str) -> ReadError {
    ReadError { code, text: text.to_owned() }
}

fn bad_batch() -> ReadError {
    cause(ErrorCode::BadCompression, BAD_BATCH)
}

fn standing(next: Option<i64>) -> (ReadState, Readiness) {
    let readiness = Readiness::default();
    (ReadState::new("orders".into(), 3, next, readiness.clone()), readiness)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn repeated_errors_at_one_offset_are_reported_then_searched() {
    let (mut standing, readiness) = standing(None);
    let mut now = Instant::now();
    assert_eq!(standing.record(41), None);
    assert_eq!(standing.on_error(bad_batch(), now), None);
    assert!(readiness.unmet_conditions().is_empty(), "one error may be transient");
    for _ in 1..MIN_REPEATS {
        assert_eq!(standing.on_error(bad_batch(), now), None);
    }
    assert_eq!(readiness.unmet_conditions(), ["records readable at orders/3 offset 42"]);
    assert_eq!(standing.due(now), None, "the errors came within a moment");
    now += SECOND;
    assert_eq!(standing.due(now), Some(ReadStep::Search(42, bad_batch())));

    let (unreadable, step) = standing.on_search_result(SearchResult::Unreadable { first: 42, behind: 45 }, now);
    let unreadable = unreadable.unwrap();
    assert_eq!(
        (unreadable.first.to_string(), unreadable.last_offset),
        ("topic orders partition 3 offset 42".into(), 44)
    );
    assert!(unreadable.cause.contains(BAD_BATCH), "{unreadable:?}");
    assert!(unreadable.cause.contains("raise the setting in [kafka.properties] and replay"), "{unreadable:?}");
    assert_eq!(step, Some(ReadStep::Seek(45)));
    assert!(readiness.unmet_conditions().is_empty());
    assert_eq!(
        standing.on_error(bad_batch(), now),
        Some(ReadStep::Seek(45)),
        "the client has not moved to the next offset yet"
    );
    assert_eq!(standing.record(45), None);
}

#[test]
fn search_starts_at_the_committed_offset_inside_a_batch() {
    let (mut standing, _) = standing(Some(44));
    let mut now = Instant::now();
    assert_eq!(standing.on_error(bad_batch(), now), None);
    now += 6 * SECOND;
    assert_eq!(standing.due(now), Some(ReadStep::Search(44, bad_batch())), "an error counts if nothing follows it");
}

#[test]
fn offsets_skipped_by_the_client_are_reported() {
    let (mut standing, _) = standing(Some(5));
    let now = Instant::now();
    let crc = cause(ErrorCode::BadMessage, "MessageSet at offset 5 (68 bytes) failed CRC32C check");
    assert_eq!(standing.on_error(crc, now), None);
    let unreadable = standing.record(8).unwrap();
    assert_eq!((unreadable.first.offset, unreadable.last_offset), (5, 7));
    assert_eq!(standing.record(9), None);
}

#[test]
fn broker_error_clears_when_it_stops() {
    let (mut standing, readiness) = standing(Some(5));
    let mut now = Instant::now();
    let broker = || cause(ErrorCode::Unknown, "Fetch from broker 1 failed at offset 5 (leader epoch 0): Unknown");
    assert_eq!((standing.on_error(broker(), now), standing.on_error(broker(), now)), (None, None));
    assert_eq!(readiness.unmet_conditions().len(), 1);
    now += 6 * SECOND;
    assert_eq!(standing.due(now), None);
    assert!(readiness.unmet_conditions().is_empty(), "no record has come, but no error either");

    (0..MIN_REPEATS).for_each(|_| assert_eq!(standing.on_error(broker(), now), None));
    now += SECOND;
    assert_eq!(standing.due(now), Some(ReadStep::Search(5, broker())));
    assert_eq!(standing.on_search_result(SearchResult::Inconclusive, now), (None, None));
    (0..MIN_REPEATS).for_each(|_| assert_eq!(standing.on_error(broker(), now), None));
    now += SECOND;
    assert_eq!(standing.due(now), None, "a search without a result is not repeated as soon");
    assert_eq!(standing.record(7), None, "the error was the broker's, and 5 and 6 have no records");
}
