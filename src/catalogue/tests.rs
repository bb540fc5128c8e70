use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::decode::{
    EventDate, Field as RowField, Identity, Input, Row, RowChange, Sequence, UnknownChangePolicy, Value,
};
use crate::vocabulary::Operation;

fn row<'a>(fields: &[(&'a str, &'a str)]) -> Row<'a> {
    let field = |(name, json): &(&'a str, &'a str)| RowField { name: Cow::Borrowed(*name), value: Value::new(*json) };
    Row::new(fields.iter().map(field).collect())
}

fn change<'a>(table: &'a str, fields: &[(&'a str, &'a str)]) -> RowChange<'a> {
    RowChange {
        account: "acme".into(),
        table: table.into(),
        operation: Operation::Insert,
        source: None,
        event_date: EventDate { at: "2026-01-02T03:04:05Z".parse().unwrap(), fraction_digits: 0 },
        sequence: Sequence::Offset { partition: 0, offset: 0 },
        identity: Identity::RecordPosition { topic: "changes", partition: 0, offset: 0, timestamp_ms: 0 },
        before: None,
        after: Some(row(fields)),
        trimmed: false,
        unknown_change: UnknownChangePolicy::Fire,
    }
}

/// A partition and its records.
struct Partition {
    lookout: Sampler,
    offset: i64,
}

impl Partition {
    fn of(catalogue: &Arc<Catalogue>) -> Self {
        Self { lookout: Sampler::new(catalogue.clone(), "changes"), offset: 0 }
    }

    fn note(&mut self, table: &str, fields: &[(&str, &str)]) {
        self.note_value(table, fields, b"{}");
    }

    fn note_value(&mut self, table: &str, fields: &[(&str, &str)], value: &[u8]) {
        let headers = vec![("origin", "Tasks")];
        let input = Input {
            topic: "changes",
            partition: 3,
            offset: self.offset,
            timestamp_ms: 7,
            key: Some(b"k"),
            value: Some(value),
            headers: &headers,
        };
        self.lookout.scan_if_due(&input, &change(table, fields));
        self.offset += 1;
    }
}

fn catalogue() -> Arc<Catalogue> {
    let catalogue = Arc::<Catalogue>::default();
    catalogue.set_clock(1_000);
    catalogue
}

/// Known fields of a table, as `name TYPE` texts.
fn fields(catalogue: &Catalogue, table: &str) -> Vec<String> {
    let fields = catalogue.fields("acme", table).unwrap_or_default();
    fields.iter().map(|field| format!("{} {}", field.name, field.kind)).collect()
}

/// Sends the unwritten tables of one catalogue to others. Returns the number of tables.
fn tell(from: &Catalogue, to: &[&Catalogue]) -> usize {
    let records = from.unwritten(false);
    for record in &records {
        let key = record.key.strip_prefix(TABLE_PREFIX).unwrap();
        to.iter().for_each(|to| to.merge_record(key, record.value.as_bytes()).unwrap());
    }
    records.len()
}

#[test]
fn tables_and_fields_are_known_once_they_were_seen() {
    let catalogue = catalogue();
    let mut partition = Partition::of(&catalogue);
    partition.note("Orders", &[("id", "1"), ("item", "\"tea\""), ("paid", "null")]);
    partition.note("Admins", &[("id", "1")]);
    assert_eq!(catalogue.tables("acme"), ["Admins", "Orders"]);
    assert_eq!(catalogue.tables("other"), [""; 0]);
    assert!(catalogue.is_known("acme", "Orders") && !catalogue.is_known("other", "Orders"));
    assert_eq!(fields(&catalogue, "Orders"), ["id INTEGER", "item STRING", "paid STRING"]);
    assert_eq!(catalogue.fields("acme", "orders"), None);
}

#[test]
fn new_fields_are_scanned_immediately_and_new_kinds_within_a_second() {
    let catalogue = catalogue();
    let mut partition = Partition::of(&catalogue);
    partition.note("T", &[("id", "1"), ("paid", "null")]);
    partition.note("T", &[("id", "1"), ("paid", "true")]);
    assert_eq!(fields(&catalogue, "T"), ["id INTEGER", "paid STRING"], "no scan is due");
    partition.note("T", &[("id", "1"), ("note", "\"x\"")]);
    assert_eq!(fields(&catalogue, "T"), ["id INTEGER", "note STRING", "paid STRING"]);
    catalogue.set_clock(2_000);
    partition.note("T", &[("id", "1.5"), ("paid", "true")]);
    assert_eq!(fields(&catalogue, "T"), ["id NUMBER", "note STRING", "paid YES/NO"]);
    let seen: Vec<i64> = catalogue.fields("acme", "T").unwrap().iter().map(|field| field.last_seen_ms).collect();
    assert_eq!(seen, [2_000, 1_000, 2_000]);
}

#[test]
fn unavailable_values_do_not_affect_the_inferred_kind() {
    let catalogue = catalogue();
    let mut partition = Partition::of(&catalogue);
    let mut change = change("T", &[("doc", "\"__debezium_unavailable_value\"")]);
    change.after.as_mut().unwrap().fields[0].value.available = false;
    let headers: Vec<(&str, &str)> = Vec::new();
    let input =
        Input { topic: "t", partition: 0, offset: 0, timestamp_ms: 0, key: None, value: None, headers: &headers };
    partition.lookout.scan_if_due(&input, &change);
    catalogue.set_clock(2_000);
    partition.note("T", &[("doc", "5")]);
    assert_eq!(fields(&catalogue, "T"), ["doc INTEGER"]);
}

#[test]
fn newest_row_change_is_sampled_unchanged_at_most_once_a_second() {
    let catalogue = catalogue();
    let mut partition = Partition::of(&catalogue);
    partition.note_value("T", &[("id", "1")], b"first");
    partition.note_value("T", &[("id", "2")], b"second");
    assert_eq!(catalogue.newest("acme", "T", None).unwrap().value, b"first", "one a second");
    catalogue.set_clock(2_000);
    partition.note_value("T", &[("id", "3")], b"third");
    let newest = catalogue.newest("acme", "T", None).unwrap();
    let expected = Sample {
        topic: "changes".into(),
        partition: 3,
        offset: 2,
        timestamp_ms: 7,
        key: Some(b"k".to_vec()),
        value: b"third".to_vec(),
        headers: vec![("origin".to_owned(), b"Tasks".to_vec())],
    };
    assert_eq!(*newest, expected);
    assert_eq!(newest.input().headers.last("origin"), Some(&b"Tasks"[..]));
    catalogue.set_clock(3_000);
    partition.note_value("T", &[("id", "4")], &[b' '; 64 * 1024]);
    assert_eq!(catalogue.newest("acme", "T", None).unwrap().value, b"third", "one that is too large is not kept");
    assert_eq!(catalogue.usage.sample_bytes.load(Ordering::Relaxed), newest.bytes());
}

#[test]
fn table_record_is_written_on_discovery_then_once_a_minute_or_day() {
    let (catalogue, other) = (catalogue(), self::catalogue());
    let mut partition = Partition::of(&catalogue);
    partition.note("a/b \"c\"", &[("id", "1")]);
    let [record] = catalogue.unwritten(false).try_into().unwrap_or_else(|_| panic!("one table"));
    assert_eq!(record.key, r#"table/["acme","a/b \"c\""]"#);
    assert_eq!(record.value, r#"{"lastSeen":1000,"fields":{"id":{"kinds":["INTEGER"],"place":0,"lastSeen":1000}}}"#);
    other.merge_record(record.key.strip_prefix(TABLE_PREFIX).unwrap(), record.value.as_bytes()).unwrap();
    assert_eq!(fields(&other, "a/b \"c\""), ["id INTEGER"]);
    assert_eq!((catalogue.unwritten(true).len(), other.unwritten(true).len()), (0, 0));

    catalogue.set_clock(2_000);
    partition.note("a/b \"c\"", &[("id", "1"), ("more", "1")]);
    assert_eq!(catalogue.unwritten(false).len(), 0, "its minute is not over");
    catalogue.set_clock(61_000);
    let [record] = catalogue.unwritten(false).try_into().unwrap_or_else(|_| panic!("one table"));
    record.mark_failed();
    assert_eq!(catalogue.unwritten(false).len(), 0);
    assert_eq!(catalogue.unwritten(true).len(), 1, "the last time waits for nothing");

    catalogue.set_clock(61_000 + 24 * 60 * 60 * 1_000);
    assert_eq!(catalogue.unwritten(false).len(), 0, "it was not seen");
    partition.note("a/b \"c\"", &[("id", "1"), ("more", "1")]);
    assert_eq!(catalogue.unwritten(false).len(), 1, "it was seen a day later");
    catalogue.mark_all_unwritten();
    assert_eq!(catalogue.unwritten(true).len(), 1);
}

#[test]
fn concurrent_writes_of_two_instances_are_merged_by_both() {
    let (one, two) = (catalogue(), catalogue());
    Partition::of(&one).note("T", &[("id", "1"), ("a", "1")]);
    Partition::of(&two).note("T", &[("id", "1.5"), ("b", "true")]);
    let (of_one, of_two) = (one.unwritten(false), two.unwritten(false));
    for record in of_one.iter().chain(&of_two) {
        let key = record.key.strip_prefix(TABLE_PREFIX).unwrap();
        [&one, &two].iter().for_each(|catalogue| catalogue.merge_record(key, record.value.as_bytes()).unwrap());
    }
    for now in [61_000, 122_000, 183_000] {
        [&one, &two].iter().for_each(|catalogue| catalogue.set_clock(now));
        tell(&one, &[&one, &two]);
        tell(&two, &[&one, &two]);
    }
    let expected = ["id NUMBER", "a INTEGER", "b YES/NO"];
    assert_eq!((fields(&one, "T"), fields(&two, "T")), (expected.map(str::to_owned).into(), fields(&one, "T")));
    assert_eq!((one.unwritten(true).len(), two.unwritten(true).len()), (0, 0), "nothing is left to write");
}

#[test]
fn invalid_records_are_rejected_and_those_of_a_newer_program_are_read() {
    let catalogue = catalogue();
    for (key, value) in [("", "{}"), ("[\"acme\"]", "{}"), ("[\"acme\",\"T\"]", "{}"), ("[\"acme\",\"T\"]", "")] {
        assert!(catalogue.merge_record(key, value.as_bytes()).is_err(), "{key} {value}");
    }
    assert!(!catalogue.is_known("acme", "T"));
    let newer = r#"{"lastSeen":5,"fields":{"id":{"kinds":["INTEGER","CURRENCY"],"place":0,"lastSeen":5,"x":1}},"y":2}"#;
    catalogue.merge_record("[\"acme\",\"T\"]", newer.as_bytes()).unwrap();
    assert_eq!(fields(&catalogue, "T"), ["id INTEGER"]);
}

#[test]
fn memory_is_bounded() {
    let catalogue = catalogue();
    let mut partition = Partition::of(&catalogue);
    let names: Vec<String> = (0..table_schema::MAX_FIELDS + 5).map(|number| format!("f{number}")).collect();
    let wide: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    partition.note("wide", &wide);
    assert_eq!(catalogue.fields("acme", "wide").unwrap().len(), table_schema::MAX_FIELDS);
    assert!(catalogue.is_full_logged.load(Ordering::Relaxed));
    let long = "n".repeat(MAX_NAME + 1);
    partition.note(&long, &[("id", "1")]);
    partition.note("T", &[("id", "1"), (&long, "1")]);
    assert!(!catalogue.is_known("acme", &long));
    assert_eq!(fields(&catalogue, "T"), ["id INTEGER"]);
    for number in 0..MAX_TABLES + 5 {
        partition.note(&format!("t{number}"), &[("id", "1")]);
    }
    assert_eq!(catalogue.tables("acme").len(), MAX_TABLES);
    assert_eq!(partition.lookout.table_count(), MAX_TABLES);
    partition.note("T", &[("id", "1"), ("more", "1")]);
    assert_eq!(fields(&catalogue, "T"), ["id INTEGER", "more INTEGER"], "known tables are still updated");
}

proptest! {
    /// All readers of all records know the same, whatever the order.
    #[test]
    fn all_readers_converge_to_the_same_fields(
        rows in prop::collection::vec((0_usize..3, 0_usize..4, 0_usize..5), 0..30),
        order in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        const VALUES: [&str; 5] = ["1", "1.5", "true", "\"x\"", "null"];
        let catalogues = [catalogue(), catalogue(), catalogue()];
        let mut records = Vec::new();
        for (at, name, value) in rows {
            let now = catalogues[at].now() + 1_000;
            catalogues[at].set_clock(now);
            Partition::of(&catalogues[at]).note("T", &[(NAMES[name], VALUES[value]), ("id", "1")]);
            records.extend(catalogues[at].unwritten(true).into_iter().map(|record| record.value));
        }
        let known: Vec<_> = [0, 1, 2].iter().map(|_| catalogue()).collect();
        for (turn, catalogue) in known.iter().enumerate() {
            let again = order.iter().filter(|_| !records.is_empty()).map(|at| at.get(&records)).skip(turn);
            for record in again.chain(&records) {
                catalogue.merge_record("[\"acme\",\"T\"]", record.as_bytes()).unwrap();
            }
        }
        prop_assert_eq!(known[0].fields("acme", "T"), known[1].fields("acme", "T"));
        prop_assert_eq!(known[0].fields("acme", "T"), known[2].fields("acme", "T"));
    }
}
