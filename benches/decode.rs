//! The time to decode a record, compared with parsing the same text into a tree of `serde_json::Value`.
//!
//! The result of each decoder is checked first: a fast wrong result does not count.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outhook::decode::{Decoded, Decoder, Format, Identity, Input, Sequence, Settings, WholeTables};

static NO_HEADERS: Vec<(&str, &str)> = Vec::new();

const OUTHOOK: &str = r#"{"id":"01J9Z3K4M5N6P7Q8R9S0T1U2V3","account":"acme","table":"orders","operation":"update","source":"RESTAPIs","time":"2024-02-29T13:14:15.123456Z","before":{"id":4711,"customer_id":1042,"state":"paid","total":129.90,"currency":"EUR","email":"ada@example.com","note":"leave it at the door","vip":true,"shipped_at":null,"placed_at":"2024-02-28T09:00:00Z"},"after":{"id":4711,"customer_id":1042,"state":"shipped","total":129.90,"currency":"EUR","email":"ada@example.com","note":"leave it at the door","vip":true,"shipped_at":"2024-02-29T13:14:15Z","placed_at":"2024-02-28T09:00:00Z"}}"#;

fn decoder(format: Format) -> Decoder {
    let settings = Settings { account: "acme".into(), ..Settings::new(format) };
    Decoder::new(Arc::new(settings), WholeTables::default())
}

/// Key and value of a captured record, by file and line number.
fn captured(file: &str, line: usize) -> (String, String) {
    let path = format!("{}/tests/fixtures/debezium/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the fixture is in the tree");
    let line = text.lines().nth(line - 1).expect("the file has the line");
    let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
    let text = |name: &str| line[name].as_str().expect("the line has key and value").to_owned();
    (text("key"), text("value"))
}

fn input<'a>(key: &'a str, value: &'a str) -> Input<'a> {
    Input {
        topic: "changes",
        partition: 0,
        offset: 42,
        timestamp_ms: 1709212455123,
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        headers: &NO_HEADERS,
    }
}

/// Decodes an update and checks its number of fields and the value of the last one.
fn check(decoder: &mut Decoder, input: &Input<'_>, fields: usize, last: &str) {
    let Ok(Decoded::Change(change)) = decoder.decode(input) else { panic!("the record is a row change") };
    let after = change.after.as_ref().expect("an update has its new row");
    assert_eq!(after.fields.len(), fields);
    assert_eq!(after.fields[fields - 1].value.json, last);
    match change.identity {
        Identity::ProducerId(id) => assert_eq!(id, "01J9Z3K4M5N6P7Q8R9S0T1U2V3"),
        Identity::Debezium(_) => assert!(matches!(change.sequence, Sequence::Postgres { .. })),
        Identity::RecordPosition { .. } => panic!("the record must carry an identity"),
    }
}

fn decode(criterion: &mut Criterion) {
    let outhook = (String::new(), OUTHOOK.to_owned());
    // Eleven fields before and after, ten fields after only, and nine fields in a record with its schema.
    let plain = captured("a_restart_redelivery.jsonl", 1);
    let bare = captured("a_customers.jsonl", 27);
    let wrapped = captured("b_schemas.jsonl", 2);
    for (name, format, (key, value), fields, last) in [
        ("outhook update", Format::Outhook, &outhook, 10, r#""2024-02-28T09:00:00Z""#),
        ("debezium update", Format::Debezium, &plain, 11, "7"),
        ("debezium update without before", Format::Debezium, &bare, 10, r#""gold""#),
        ("debezium update with its schema", Format::Debezium, &wrapped, 9, r#""2024-01-02T03:04:05.123456Z""#),
    ] {
        let mut decoder = decoder(format);
        let input = input(key, value);
        check(&mut decoder, &input, fields, last);
        check(&mut decoder, &input, fields, last);
        let mut group = criterion.benchmark_group(format!("decode/{name}, {} bytes", value.len()));
        group.throughput(Throughput::Bytes(value.len() as u64));
        group.bench_function("outhook", |bencher| bencher.iter(|| black_box(decoder.decode(black_box(&input)))));
        group.bench_function("a tree, for comparison", |bencher| {
            bencher.iter(|| black_box(serde_json::from_str::<serde_json::Value>(black_box(value))));
        });
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
