use std::collections::HashSet;

use serde_json::Value;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn changes(seed: u64, count: usize) -> Vec<Change> {
    let mut sample = Sample::new(seed);
    (0..count).map(|_| sample.next(NOW)).collect()
}

#[test]
fn same_seed_makes_the_same_changes() {
    assert_eq!(changes(7, 500), changes(7, 500));
    assert_ne!(changes(7, 500), changes(8, 500));
}

/// Computes the fired events a second time, from the record's JSON.
#[test]
fn fired_events_agree_with_the_record() {
    for change in changes(1, 20_000) {
        let record: Value = serde_json::from_slice(&change.record).unwrap();
        let (before, after) = (&record["before"], &record["after"]);
        let differs = |field: &str| before[field] != after[field];
        let expected = match (change.table, record["operation"].as_str().unwrap()) {
            ("MyCustomers", "update") => {
                let taken = record["source"] == "Datasheet" || record["source"] == "DataPages";
                let renamed = differs("First_Name") || differs("Last_Name");
                if taken && renamed { vec![SampleEvent::CustomerRenamed] } else { vec![] }
            }
            ("Admins", "insert") => vec![SampleEvent::AdminAdded],
            ("Orders", "insert") => vec![SampleEvent::OrderPlaced],
            ("Orders", "delete") => vec![SampleEvent::OrderDeleted],
            ("Orders", "update") if differs("Status") => vec![SampleEvent::OrderChanged, SampleEvent::OrderMoved],
            ("Orders", "update") if before != after => vec![SampleEvent::OrderChanged],
            _ => vec![],
        };
        assert_eq!(change.fires, expected, "{record}");
    }
}

/// The `before` of an update or delete is the row after its last change.
#[test]
fn before_equals_the_row_after_its_last_change() {
    let mut rows = std::collections::HashMap::new();
    for change in changes(2, 20_000) {
        let record: Value = serde_json::from_slice(&change.record).unwrap();
        let before = rows.remove(&change.key).unwrap_or(Value::Null);
        assert_eq!(record["before"], before);
        if !record["after"].is_null() {
            rows.insert(change.key, record["after"].clone());
        }
    }
    assert!(rows.len() <= 4 * MAX_ROWS);
}

/// Each event fires often, and each kind of change without events occurs often.
#[test]
fn sample_stream_covers_all_events_and_sources() {
    let changes = changes(3, 5_000);
    for event in SampleEvent::ALL {
        let fired = changes.iter().filter(|change| change.fires.contains(&event)).count();
        assert!(fired > 50, "{event:?} fired {fired} times");
    }
    let records: Vec<Value> = changes.iter().map(|change| serde_json::from_slice(&change.record).unwrap()).collect();
    let idle = |record: &&Value| record["operation"] == "update" && record["before"] == record["after"];
    assert!(records.iter().filter(idle).count() > 50);
    let sources: HashSet<_> = records.iter().map(|record| record["source"].as_str()).collect();
    assert_eq!(sources.len(), SOURCES.len() + 1, "all sources, and no source: {sources:?}");
}
