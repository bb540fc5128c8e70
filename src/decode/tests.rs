//! Helpers for the tests of all formats, and tests that hold for all formats.

use std::path::Path;

use proptest::prelude::*;

use super::*;

static NO_HEADERS: Vec<(&str, &str)> = Vec::new();

/// A record at topic `t`, partition 3, offset 42, written to Kafka at 2024-02-29T13:14:15.123Z.
pub(super) fn input<'a>(key: Option<&'a str>, value: &'a str) -> Input<'a> {
    Input {
        topic: "t",
        partition: 3,
        offset: 42,
        timestamp_ms: 1709212455123,
        key: key.map(str::as_bytes),
        value: Some(value.as_bytes()),
        headers: &NO_HEADERS,
    }
}

pub(super) fn settings(format: Format) -> Settings {
    Settings { account: "acme".into(), ..Settings::new(format) }
}

pub(super) fn decoder(settings: Settings) -> Decoder {
    Decoder::new(Arc::new(settings), WholeTables::default())
}

/// Decodes a record that must be a row change.
pub(super) fn change<'a>(decoder: &mut Decoder, input: &Input<'a>) -> RowChange<'a> {
    match decoder.decode(input) {
        Ok(Decoded::Change(change)) => change,
        other => panic!("a row change was expected, not {other:?}"),
    }
}

/// The available values of a row, as `name=json` texts.
pub(super) fn fields(row: Option<&Row<'_>>) -> Vec<String> {
    let fields = row.into_iter().flat_map(|row| &row.fields).filter(|field| field.value.available);
    fields.map(|field| format!("{}={}", field.name, field.value.json)).collect()
}

/// Values of captured records of all formats.
fn captured() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/debezium");
    ["b_schemas", "a_misc", "a_docs", "e_transaction_metadata", "maxwell", "d_unwrapped_rewrite"]
        .into_iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(folder.join(file).with_extension("jsonl")).expect("it is in the tree");
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect::<Vec<_>>()
        })
        .filter_map(|line: serde_json::Value| line["value"].as_str().map(str::to_owned))
        .chain([r#"{"id":"1","table":"t","operation":"update","time":5,"before":{"a":1},"after":{"a":2}}"#.to_owned()])
        .collect()
}

fn decode_both_ways(key: Option<&[u8]>, value: Option<&[u8]>) {
    for format in [Format::Outhook, Format::Debezium] {
        let mut decoder = decoder(settings(format));
        let input = Input { key, value, ..input(None, "") };
        let first = format!("{:?}", decoder.decode(&input));
        // The second time the schema is cached.
        assert_eq!(format!("{:?}", decoder.decode(&input)), first);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((".*", inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        decode_both_ways(key.as_deref(), value.as_deref());
    }

    /// Captured records with a piece cut out and other bytes inserted.
    #[test]
    fn corrupted_records_never_panic(
        record in prop::sample::select(captured()),
        cut in any::<prop::sample::Index>(),
        length in 0..40usize,
        put in prop_oneof!["[\\[\\]{}\",:0-9a-z\\\\]{0,12}".prop_map(String::into_bytes), any::<Vec<u8>>()],
    ) {
        let mut bytes = record.into_bytes();
        let start = cut.index(bytes.len());
        let end = bytes.len().min(start + length);
        bytes.splice(start..end, put);
        decode_both_ways(Some(br#"{"id":1}"#), Some(&bytes));
    }

    #[test]
    fn any_json_value_passes_unchanged(name in ".*", value in any_json(), pretty: bool) {
        let json = if pretty { format!("{value:#}") } else { value.to_string() };
        let name = serde_json::Value::from(name);
        let row = format!(r#"{{"x":[], {name} : {json} ,"y":0}}"#);
        let outhook = format!(r#"{{"table":"t","operation":"insert","after":{row}}}"#);
        let debezium = format!(r#"{{"after":{row},"source":{{"table":"t"}},"op":"c"}}"#);
        for (format, record) in [(Format::Outhook, outhook), (Format::Debezium, debezium)] {
            let mut decoder = decoder(settings(format));
            let change = change(&mut decoder, &input(None, &record));
            let field = &change.after.as_ref().expect("an insert has its row").fields[1];
            prop_assert_eq!(&*field.name, name.as_str().expect("a name is a string"));
            prop_assert_eq!(&*field.value.json, &json);
            prop_assert!(field.value.available && !field.value.json_text);
        }
    }
}

#[test]
fn invalid_utf8_or_json_errors_name_the_position() {
    let mut decoder = decoder(settings(Format::Outhook));
    let error = |decoder: &mut Decoder, value: &[u8]| {
        let input = Input { value: Some(value), ..input(None, "") };
        decoder.decode(&input).expect_err("the record is broken").to_string()
    };
    assert_eq!(
        error(&mut decoder, b"{\"table\":\"\xff\"}"),
        "the value is not a valid outhook record: it is not UTF-8 from byte 10 on"
    );
    assert_eq!(
        error(&mut decoder, b"{\"table\":\"t\",\n \"operation\":insert}"),
        "the value is not a valid outhook record: `operation`: expected value at line 2 column 14"
    );
    for empty in [&b""[..], b" \r\n", "\u{feff}".as_bytes()] {
        assert_eq!(
            error(&mut decoder, empty),
            "the value is not a valid outhook record: it is empty: write a JSON object, or for a tombstone no value \
             at all (null)"
        );
    }
}

#[test]
fn schema_registry_record_is_rejected_with_the_fix() {
    for format in [Format::Outhook, Format::Debezium] {
        // Avro, and JSON Schema, whose text after the schema's id is valid UTF-8.
        for value in [&b"\0\0\0\x01\x2a\x02\xff"[..], b"\0\0\0\x01\x2a{\"op\":\"c\"}"] {
            let error = decoder(settings(format)).decode(&Input { value: Some(value), ..input(None, "") });
            let error = error.expect_err("the value is not plain JSON").to_string();
            assert_eq!(
                error,
                format!(
                    "the value is not a valid {} record: it is in a Schema Registry's wire format (byte 0, then \
                     schema id 298), which is not supported: write plain JSON, in Kafka Connect with \
                     org.apache.kafka.connect.json.JsonConverter",
                    format.name()
                )
            );
        }
    }
}

#[test]
fn a_byte_order_mark_before_the_json_is_skipped() {
    let outhook = "\u{feff}{\"table\":\"t\",\"operation\":\"insert\",\"after\":{\"id\":1}}";
    let debezium = "\u{feff}{\"op\":\"d\",\"source\":{\"table\":\"t\"},\"before\":{\"id\":1,\"a\":0}}";
    for (format, record) in [(Format::Outhook, outhook), (Format::Debezium, debezium)] {
        for key in ["\u{feff}{\"id\":1}", "\u{feff}{\"schema\":null,\"payload\":{\"id\":1}}"] {
            let mut decoder = decoder(settings(format));
            assert_eq!(fields(change(&mut decoder, &input(Some(key), record)).sent_row()), ["id=1"]);
        }
        let tombstone = decoder(settings(format)).decode(&input(None, "\u{feff}null"));
        assert!(matches!(tombstone, Ok(Decoded::Ignored(Ignored::Tombstone))), "{tombstone:?}");
    }
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let record = format!(r#"{{"table":"t","operation":"insert","after":{{"a":{deep}}},"other":{deep}}}"#);
    let mut decoder = decoder(settings(Format::Outhook));
    assert_eq!(
        change(&mut decoder, &input(None, &record)).sent_value("a").map(|value| value.json.len()),
        Some(200_000)
    );
}

/// Duplicate keys, in each object that a decoder reads.
#[test]
fn last_of_duplicate_keys_wins_in_outhook_records() {
    let outhook = r#"{"table":"x","table":"t","operation":"insert","operation":"update","id":"1","id":"2","time":1,"time":2,
        "before":{"a":0},"before":{"a":1,"b":1,"a":2},"after":{"a":3,"b":1,"a":4}}"#;
    let change = change(&mut decoder(settings(Format::Outhook)), &input(None, outhook));
    assert_eq!((&*change.table, change.operation), ("t", crate::vocabulary::Operation::Update));
    assert_eq!(
        (change.identity, change.event_date),
        (Identity::ProducerId("2".into()), EventDate::from_milliseconds(2).unwrap())
    );
    assert_eq!(fields(change.before.as_ref()), ["b=1", "a=2"]);
    assert_eq!(fields(change.after.as_ref()), ["b=1", "a=4"]);
}

#[test]
fn last_of_duplicate_keys_wins_in_debezium_records() {
    let record = r#"{"op":"d","op":"c","source":{"table":"x","connector":"postgresql","lsn":1,"lsn":7,"table":"t"},
        "after":{"a":1},"after":{"doc":{"n":1},"doc":{"n":2},"a":1}}"#;
    let key = r#"{"schema":1,"schema":2,"payload":{"id":1},"payload":{"id":2}}"#;
    let change = change(&mut decoder(settings(Format::Debezium)), &input(Some(key), record));
    assert_eq!(
        (&*change.table, fields(change.after.as_ref())),
        ("t", vec![r#"doc={"n":2}"#.to_owned(), "a=1".to_owned()])
    );
    let identity = r#""postgresql" null null null "t" 7 c key {"id":2}"#;
    assert_eq!(change.identity, Identity::Debezium(identity.to_owned()));
}

#[test]
fn last_of_duplicate_headers_wins() {
    let headers = vec![("origin", "Datasheet"), ("origin", "Tasks")];
    let rule = Some(EventSourceRule::Header("origin".to_owned()));
    let mut decoder = decoder(Settings { event_source: rule, ..settings(Format::Outhook) });
    let record = r#"{"table":"t","operation":"insert","after":{}}"#;
    let change = change(&mut decoder, &Input { headers: &headers, ..input(None, record) });
    assert_eq!(change.source, Some(crate::vocabulary::EventSource::Tasks));
}

/// JSON's grammar allows an unpaired surrogate in any string. In a key it passes unchanged, as in a value.
#[test]
fn unpaired_surrogate_in_a_field_name_passes_unchanged() {
    let row = r#"{"a\ud83d":1,"b\u0041":"\udc00","\ud83d\ude80":2}"#;
    let outhook = format!(r#"{{"x\udfff":0,"table":"t","operation":"insert","after":{row}}}"#);
    let debezium = format!(r#"{{"x\udfff":0,"after":{row},"source":{{"table":"t","y\udfff":1}},"op":"c"}}"#);
    for (format, record) in [(Format::Outhook, outhook), (Format::Debezium, debezium)] {
        let mut decoder = decoder(settings(format));
        let change = change(&mut decoder, &input(None, &record));
        assert_eq!(fields(change.after.as_ref()), [r"a\ud83d=1", r#"bA="\udc00""#, "🚀=2"]);
        let mut sent = String::new();
        for field in &change.after.as_ref().expect("an insert has its row").fields {
            field.write_name(&mut sent);
            sent.push(' ');
        }
        assert_eq!(sent, r"a\ud83d bA 🚀 ");
    }
}
