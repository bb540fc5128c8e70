use super::*;
use crate::decode::tests::{change, decoder, fields, input, settings};
use crate::decode::{DecodeError, EventSourceRule};
use crate::vocabulary::EventSource;

const UPDATE: &str = r#"{"after":{"total":2.50,"näme":"\"x\""},"other":[{}],"before":{"total":1},"time":
    "2024-02-29T13:14:15.10+02:00","source":"restapis","operation":"update","table":"orders","account":"globex","id":7}"#;

#[test]
fn every_field_is_read_in_any_order() {
    let mut decoder = decoder(settings(Format::Outhook));
    let change = change(&mut decoder, &input(None, UPDATE));
    assert_eq!((&*change.account, &*change.table, change.operation), ("globex", "orders", Operation::Update));
    assert_eq!(change.source, Some(EventSource::RestApis));
    assert_eq!(
        (change.event_date.at.to_string().as_str(), change.event_date.fraction_digits),
        ("2024-02-29T11:14:15.1Z", 2)
    );
    assert_eq!(change.identity, Identity::ProducerId("7".into()));
    assert_eq!(change.sequence, Sequence::Offset { partition: 3, offset: 42 });
    assert_eq!(fields(change.before.as_ref()), ["total=1"]);
    assert_eq!(fields(change.after.as_ref()), ["total=2.50", r#"näme="\"x\"""#]);
}

#[test]
fn omitted_fields_default_to_source_settings_and_kafka_metadata() {
    let mut settings = settings(Format::Outhook);
    settings.event_source = Some(EventSourceRule::Field("by".to_owned()));
    let mut decoder = decoder(settings);
    let record = r#"{"table":"t","operation":"delete","before":{"by":"Tasks"},"after":null,"id":null,"time":null}"#;
    let deleted = change(&mut decoder, &input(None, record));
    assert_eq!((&*deleted.account, deleted.source), ("acme", Some(EventSource::Tasks)));
    assert_eq!(deleted.event_date, EventDate::from_kafka(1709212455123));
    assert_eq!(
        deleted.identity,
        Identity::RecordPosition { topic: "t", partition: 3, offset: 42, timestamp_ms: 1709212455123 }
    );
    // An unknown event source in the record is not replaced by the source's own rule.
    let record = r#"{"table":"t","operation":"insert","after":{"by":"Tasks"},"source":"Cron"}"#;
    assert_eq!(change(&mut decoder, &input(None, record)).source, None);
}

#[test]
fn event_source_is_read_from_a_header() {
    let mut settings = settings(Format::Outhook);
    settings.event_source = Some(EventSourceRule::Header("origin".to_owned()));
    let mut decoder = decoder(settings);
    for (header, source) in
        [("DataPages", Some(EventSource::DataPages)), (r#""Tasks""#, Some(EventSource::Tasks)), ("x", None)]
    {
        let headers = vec![("other", "Tasks"), ("origin", header)];
        let input = Input { headers: &headers, ..input(None, r#"{"table":"t","operation":"insert","after":{}}"#) };
        assert_eq!(change(&mut decoder, &input).source, source, "{header}");
    }
}

#[test]
fn null_is_a_tombstone() {
    let mut decoder = decoder(settings(Format::Outhook));
    for value in [None, Some(&b"null"[..]), Some(b" null\n")] {
        let decoded = decoder.decode(&Input { value, ..input(None, "") });
        assert!(matches!(decoded, Ok(Decoded::Ignored(Ignored::Tombstone))), "{decoded:?}");
    }
}

#[test]
fn errors_name_the_wrong_value_and_the_allowed_ones() {
    for (record, reason) in [
        (r#"{"operation":"insert","after":{}}"#, "`table` is missing: it must be the table's name"),
        (r#"{"table":"","operation":"insert","after":{}}"#, "`table` is empty: it must be the table's name"),
        (r#"{"table":5}"#, "`table`: invalid type: integer `5`, expected a string at line 1 column 10"),
        (r#"{"table":"t"}"#, "`operation` is missing: it must be insert, update or delete"),
        (
            r#"{"table":"t","operation":"upsert","after":{}}"#,
            r#"`operation` is "upsert": it must be insert, update or delete"#,
        ),
        (r#"{"table":"t","operation":"insert"}"#, "`after` is missing: an insert needs the new row"),
        (r#"{"table":"t","operation":"update","after":null}"#, "`after` is missing: an update needs the new row"),
        (r#"{"table":"t","operation":"delete","after":{}}"#, "`before` is missing: a delete needs the deleted row"),
        (
            r#"{"table":"t","operation":"insert","after":"secret"}"#,
            "`after`: invalid type: a string, expected a row, which is an object, or null at line 1 column 50",
        ),
        (
            r#"{"table":"t","operation":"update","before":[1],"after":{}}"#,
            "`before`: invalid type: sequence, expected a row, which is an object, or null at line 1 column 44",
        ),
        (
            r#"{"table":"t","operation":"insert","after":{},"time":"yesterday"}"#,
            "`time`: invalid value: string \"yesterday\", expected RFC 3339 text such as 2024-02-29T13:14:15.123Z, or \
             whole milliseconds since 1970 at line 1 column 63",
        ),
        (
            r#"{"table":"t","operation":"insert","after":{},"time":1.5}"#,
            "`time`: invalid type: floating point `1.5`, expected RFC 3339 text such as 2024-02-29T13:14:15.123Z, or \
             whole milliseconds since 1970 at line 1 column 55",
        ),
        (
            r#"{"table":"t","operation":"insert","after":{},"id":""}"#,
            "`id`: it is empty: set a different id for each change, or omit the key at line 1 column 52",
        ),
        (
            "[]",
            "invalid type: sequence, expected an object with `table`, `operation`, `before` and `after` at line 1 column 0",
        ),
        (r#"{"table":"t"} {}"#, "trailing characters at line 1 column 15"),
    ] {
        let error = decoder(settings(Format::Outhook)).decode(&input(None, record)).expect_err(record);
        assert_eq!(error, DecodeError::Malformed { format: "outhook", reason: reason.to_owned() }, "{record}");
    }
}

#[test]
fn record_of_another_format_is_rejected_by_name() {
    for (record, found) in [
        (r#"{"before":null,"after":{"id":1},"source":{"table":"t"},"op":"c"}"#, "a Debezium record"),
        (r#"{"schema":{},"payload":{"op":"c"}}"#, "a Debezium record with its schema"),
        (
            r#"{"database":"d","table":"t","type":"insert","data":{}}"#,
            "a Maxwell record, a format that is not supported yet",
        ),
    ] {
        let error = decoder(settings(Format::Outhook)).decode(&input(None, record)).expect_err(record);
        assert_eq!(error, DecodeError::OtherFormat { format: "outhook", found }, "{record}");
    }
}

#[test]
fn long_error_is_truncated_and_keeps_its_position() {
    let record = format!(r#"{{"table":"t","operation":"insert","after":{{}},"time":"{}"}}"#, "x".repeat(100_000));
    let error = decoder(settings(Format::Outhook)).decode(&input(None, &record)).expect_err("no time").to_string();
    assert!(error.len() < 400 && error.ends_with("… at line 1 column 100054"), "{error}");
    let quoted = format!("{} at line {}", "x".repeat(300), "y".repeat(100_000));
    let record = format!(r#"{{"table":"t","operation":"{quoted}","after":{{}}}}"#);
    let error = decoder(settings(Format::Outhook)).decode(&input(None, &record)).expect_err("no operation").to_string();
    assert!(error.len() < 400 && error.ends_with("x…"), "{} bytes", error.len());
}

#[test]
fn keys_reported_as_unknown_are_exactly_the_unread_ones() {
    assert_eq!(unknown_keys(UPDATE.as_bytes()), ["other"]);
    assert_eq!(unknown_keys(b"[]"), Vec::<String>::new());
    for key in KNOWN_KEYS {
        let record = format!(r#"{{"{key}":[1],"table":"t","operation":"insert","after":{{}}}}"#);
        let refused = decoder(settings(Format::Outhook)).decode(&input(None, &record));
        assert!(refused.is_err(), "{key} is read, so a list is refused");
    }
}
