//! Snapshots of the result for each line of the captured change messages in `tests/fixtures/debezium`: a row change,
//! ignored with its kind, or rejected with its reason. That folder's README.md lists the statement behind each line.
//!
//! And the properties that the targets of `fuzz/` check, for each file in `fuzz/corpus`.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::HashMap;
use std::fmt::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outhook::decode::{
    Decoded, Decoder, Field, Format, Identity, Input, Row, RowChange, Sequence, Settings, SnapshotRows, Value,
    WholeTables,
};

/// A line of a fixture file.
#[derive(serde::Deserialize)]
struct Line {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

impl Line {
    fn input(&self) -> Input<'_> {
        Input {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp,
            key: self.key.as_deref().map(str::as_bytes),
            value: self.value.as_deref().map(str::as_bytes),
            headers: &self.headers,
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/debezium")
}

fn lines(file: &str) -> Vec<Line> {
    let text = std::fs::read_to_string(folder().join(file)).expect("the fixture is in the tree");
    text.lines().map(|line| serde_json::from_str(line).expect("a fixture's line is JSON")).collect()
}

fn decoder(change: impl FnOnce(&mut Settings)) -> Decoder {
    let mut settings = Settings { account: "acme".into(), ..Settings::new(Format::Debezium) };
    change(&mut settings);
    Decoder::new(Arc::new(settings), WholeTables::default())
}

/// The step behind each line of a file, from the README's table: `1-2 snapshot, 3 c01, …`.
fn steps(file: &str) -> HashMap<usize, String> {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("the README is in the tree");
    let row = readme.lines().find(|line| line.starts_with(&format!("| {file} |"))).expect("the README names the file");
    let steps = row.trim_end_matches(['|', ' ']).rsplit('|').next().expect("rsplit returns at least one part");
    let mut of_line = HashMap::new();
    for part in steps.split(',') {
        let (range, step) = part.trim().split_once(' ').expect("lines, then their step");
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().expect("a line's number");
        (number(first)..=number(last)).for_each(|line| {
            of_line.insert(line, step.to_owned());
        });
    }
    of_line
}

/// The results for the lines of a file: one line each, and further lines for the rows of a change.
fn told(file: &str) -> String {
    let mut decoder = decoder(|_| {});
    let steps = steps(file);
    let mut told = String::new();
    for (at, line) in lines(file).iter().enumerate() {
        let step = &steps[&(at + 1)];
        write!(told, "{:>2} {step:<8} {}/{} ", at + 1, line.partition, line.offset)
            .expect("writing to a String never fails");
        match decoder.decode(&line.input()) {
            Ok(Decoded::Change(change)) => told.push_str(&change_text(&change)),
            Ok(Decoded::Ignored(kind)) => writeln!(told, "ignored: {kind:?}").expect("writing to a String never fails"),
            Err(error) => writeln!(told, "refused: {error}").expect("writing to a String never fails"),
        }
    }
    told
}

fn change_text(change: &RowChange<'_>) -> String {
    let RowChange { table, operation, event_date, .. } = change;
    let date = jiff::fmt::temporal::DateTimePrinter::new().precision(Some(event_date.fraction_digits));
    let sequence = match change.sequence {
        Sequence::Postgres { commit, lsn, after_delete } => {
            format!("{commit} {lsn} {}", if after_delete { "after" } else { "first" })
        }
        other => format!("{other:?}"),
    };
    let identity = match &change.identity {
        Identity::Debezium(text) => text.clone(),
        other => format!("{other:?}"),
    };
    format!(
        "{operation} {table} at {}\n     sequence {sequence}\n     identity {identity}\n{}{}",
        date.timestamp_to_string(&event_date.at),
        row_text(if change.trimmed { "before, cut to its key" } else { "before" }, change.before.as_ref()),
        row_text("after", change.after.as_ref()),
    )
}

fn row_text(side: &str, row: Option<&Row<'_>>) -> String {
    let Some(row) = row else { return String::new() };
    let is_cut = |field: &&Field<'_>| side.ends_with("its key") && !field.value.available;
    let fields = row.fields.iter().filter(|field| !is_cut(field));
    let fields = fields.map(|field| format!("{}={}", field.name, value_text(&field.value)));
    format!("     {side}: {}\n", fields.collect::<Vec<_>>().join(" "))
}

fn value_text(value: &Value<'_>) -> String {
    let long = value.json.chars().count() > 60;
    match (value.available, long) {
        (false, _) => "(unavailable)".to_owned(),
        (true, true) => format!("{}… ({} bytes)", value.json.chars().take(30).collect::<String>(), value.json.len()),
        (true, false) if value.json_text => format!("json:{}", value.json),
        (true, false) => value.json.clone().into_owned(),
    }
}

#[test]
fn every_fixture_line_matches_its_snapshot() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .expect("the fixtures are in the tree")
        .map(|entry| entry.expect("the folder can be read").file_name().into_string().expect("names are ASCII"))
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 21);
    for file in files {
        insta::assert_snapshot!(file.trim_end_matches(".jsonl"), told(&file));
    }
}

/// The identities of a file's row changes, with their line numbers.
fn identities(file: &str) -> Vec<(usize, String)> {
    let mut decoder = decoder(|_| {});
    let lines = lines(file);
    let change = |(at, line): (usize, &Line)| match decoder.decode(&line.input()) {
        Ok(Decoded::Change(change)) => Some((at + 1, format!("{:?}", change.identity))),
        _ => None,
    };
    lines.iter().enumerate().filter_map(change).collect()
}

#[test]
fn changes_sent_again_by_a_killed_connector_keep_their_identity() {
    let identities = identities("a_restart_redelivery.jsonl");
    let of = |wanted: std::ops::RangeInclusive<usize>| {
        identities.iter().filter(|(line, _)| wanted.contains(line)).map(|(_, identity)| identity).collect::<Vec<_>>()
    };
    // Lines 1 to 5 are the changes of r01. Lines 6 to 10 repeat them.
    assert_eq!(of(1..=5).len(), 5);
    assert_eq!(of(1..=5), of(6..=10));
    let mut all: Vec<_> = identities.iter().map(|(_, identity)| identity).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), identities.len() - 5);
}

#[test]
fn identities_are_unique_per_change() {
    for file in ["a_customers.jsonl", "a_orders.jsonl", "a_audit_nopk.jsonl", "a_idx_ident.jsonl", "b_schemas.jsonl"] {
        let identities = identities(file);
        let distinct: std::collections::HashSet<_> = identities.iter().map(|(_, identity)| identity).collect();
        assert_eq!(distinct.len(), identities.len(), "{file}");
    }
}

#[test]
fn identity_does_not_depend_on_an_embedded_schema() {
    // Another connector captured the steps c05 and c10 of file a in file b: same positions, other names.
    let plain: Vec<String> = identities("a_customers.jsonl").into_iter().map(|(_, identity)| identity).collect();
    let wrapped = identities("b_schemas.jsonl");
    let customers = wrapped.iter().filter(|(_, identity)| identity.contains("customers"));
    let mut compared = 0;
    for (line, identity) in customers {
        assert!(plain.contains(&identity.replace("dbzb", "dbza")), "line {line}: {identity}");
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
fn snapshot_rows_are_inserts_if_configured() {
    let mut decoder = decoder(|settings| settings.snapshot_rows = SnapshotRows::Insert);
    let mut told = String::new();
    for file in ["a_customers.jsonl", "a_audit_nopk.jsonl", "a_incremental_snapshot.jsonl", "b_schemas.jsonl"] {
        for line in lines(file) {
            if let Ok(Decoded::Change(change)) = decoder.decode(&line.input())
                && line.value.as_deref().is_some_and(|value| value.contains(r#""op":"r""#))
            {
                told.push_str(&change_text(&change));
            }
        }
    }
    insta::assert_snapshot!("snapshot_rows_as_inserts", told);
}

/// Max files of a corpus, and max bytes of a file: a corpus has hard cases, not everything that a run has found.
const MAX_SEEDS: usize = 40;
const MAX_SEED_BYTES: usize = 4096;

/// Runs a property with each file of its target's corpus. A failure names the file.
fn run_corpus(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("each target has a corpus");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    assert!((1..=MAX_SEEDS).contains(&paths.len()), "{} has {} files", folder.display(), paths.len());
    let fails = |path: &&PathBuf| {
        let bytes = std::fs::read(path).expect("a seed is a file");
        bytes.len() > MAX_SEED_BYTES || catch_unwind(|| property(&bytes)).is_err()
    };
    let failed: Vec<&PathBuf> = paths.iter().filter(fails).collect();
    assert!(failed.is_empty(), "too long, or the property does not hold: {failed:?}");
}

#[test]
fn the_seeds_of_decode_keep_its_property() {
    run_corpus("decode", fuzz::decode);
}

#[test]
fn the_seeds_of_template_keep_its_property() {
    run_corpus("template", fuzz::template);
}

#[test]
fn the_seeds_of_completion_map_keep_its_property() {
    run_corpus("completion_map", fuzz::completion_map);
}

#[test]
fn the_seeds_of_definition_record_keep_its_property() {
    run_corpus("definition_record", fuzz::definition_record);
}

#[test]
fn the_seeds_of_stored_call_keep_its_property() {
    run_corpus("stored_call", fuzz::stored_call);
}
