//! Cases that the captured records of tests/decode_fixtures.rs do not cover.

use super::*;
use crate::decode::tests::{change, decoder, fields, input, settings};
use crate::decode::{EventDate, EventSourceRule, Identity, Sequence, TableNaming, WholeTables};
use crate::vocabulary::EventSource;

const KEY: Option<&str> = Some(r#"{"id":1}"#);

fn postgres(rest: &str) -> String {
    let source = r#""source":{"connector":"postgresql","name":"db","db":"shop","schema":"public","table":"orders",
        "sequence":"[\"5\",\"9\"]","lsn":9,"ts_ms":1709212455123}"#;
    format!("{{{source},{rest}}}")
}

fn mysql(rest: &str) -> String {
    let source = r#""source":{"connector":"mysql","name":"db","db":"shop","table":"orders","server_id":7,
        "file":"bin.000012","pos":345,"row":2,"ts_ms":1709212455000,"gtid":null}"#;
    format!("{{{source},{rest}}}")
}

fn reason(record: &str, key: Option<&str>) -> String {
    let error = decoder(settings(Format::Debezium)).decode(&input(key, record)).expect_err(record);
    match error {
        DecodeError::Malformed { reason, .. } => reason,
        other => other.to_string(),
    }
}

#[test]
fn mysql_changes_are_ordered_and_identified_by_binlog_position() {
    let record = mysql(r#""op":"u","before":{"id":1,"total":1},"after":{"id":1,"total":2}"#);
    let change = change(&mut decoder(settings(Format::Debezium)), &input(KEY, &record));
    assert_eq!(change.sequence, Sequence::Binlog { file: 12, pos: 345, row: 2 });
    let identity = r#""mysql" "db" "shop" null "orders" 7 "bin.000012" 345 2 u key {"id":1}"#;
    assert_eq!(change.identity, Identity::Debezium(identity.to_owned()));
    assert_eq!(change.event_date, EventDate::from_milliseconds(1709212455000).expect("a usual time"));
}

/// Connectors whose `before` and `after` are not rows: the error names the connector, for any operation.
#[test]
fn mongodb_and_cassandra_records_are_rejected_by_name() {
    let mongodb = r#""source":{"connector":"mongodb","db":"shop","collection":"orders","ord":1}"#;
    let cassandra = r#""source":{"connector":"cassandra","keyspace_name":"shop","table":"orders"}"#;
    for (record, found) in [
        (format!(r#"{{"op":"c","after":"{{\"_id\":1}}",{mongodb}}}"#), "a record of Debezium's MongoDB connector"),
        (format!(r#"{{"op":"u","before":null,"after":null,"updateDescription":{{}},{mongodb}}}"#), "MongoDB"),
        (format!(r#"{{"op":"d","before":null,"after":null,{mongodb}}}"#), "MongoDB"),
        (format!(r#"{{"op":"i","after":{{"id":{{"value":1,"set":true}}}},{cassandra}}}"#), "Cassandra"),
        (format!(r#"{{"op":"u","after":{{"id":{{"value":1,"set":true}}}},{cassandra}}}"#), "Cassandra"),
    ] {
        for record in [record.clone(), format!(r#"{{"schema":{{}},"payload":{record}}}"#)] {
            let error = decoder(settings(Format::Debezium)).decode(&input(KEY, &record)).expect_err(&record);
            assert!(matches!(error, DecodeError::OtherFormat { .. }), "{error}");
            assert!(error.to_string().contains(found) && error.to_string().contains("not supported yet"), "{error}");
        }
    }
}

#[test]
fn change_without_source_position_uses_its_kafka_offset() {
    let record = r#"{"op":"c","source":{"connector":"sqlserver","table":"orders","lsn":null},"after":{"id":1}}"#;
    let change = change(&mut decoder(settings(Format::Debezium)), &input(KEY, record));
    assert_eq!(
        change.identity,
        Identity::RecordPosition { topic: "t", partition: 3, offset: 42, timestamp_ms: 1709212455123 }
    );
    assert_eq!(change.sequence, Sequence::Offset { partition: 3, offset: 42 });
    assert_eq!(change.event_date, EventDate::from_kafka(1709212455123));
}

#[test]
fn most_precise_source_time_is_used() {
    for (times, digits) in [
        (r#""ts_ms":1709212455123"#, 3),
        (r#""ts_ms":1709212455123,"ts_us":1709212455123456"#, 6),
        (r#""ts_ns":1709212455123456000,"ts_ms":1709212455123"#, 6),
        (r#""ts_ns":1709212455123456789,"ts_us":1709212455123456"#, 9),
        (r#""ts_ns":null,"ts_us":9223372036854775807,"ts_ms":1709212455123"#, 3),
        (r#""ts_ns":0,"ts_us":0,"ts_ms":0"#, 3),
    ] {
        let record = format!(r#"{{"op":"c","source":{{"table":"t",{times}}},"after":{{}}}}"#);
        let date = change(&mut decoder(settings(Format::Debezium)), &input(None, &record)).event_date;
        assert_eq!((date.at.as_second(), date.fraction_digits), (1709212455, digits), "{times}");
    }
}

#[test]
fn table_name_follows_the_naming_setting() {
    for (naming, postgres_name, mysql_name) in [
        (TableNaming::Table, "orders", "orders"),
        (TableNaming::SchemaTable, "public.orders", "orders"),
        (TableNaming::DatabaseTable, "shop.orders", "shop.orders"),
    ] {
        let mut decoder = decoder(crate::decode::Settings { table_naming: naming, ..settings(Format::Debezium) });
        let rest = r#""op":"c","after":{}"#;
        assert_eq!(change(&mut decoder, &input(KEY, &postgres(rest))).table, postgres_name);
        assert_eq!(change(&mut decoder, &input(KEY, &mysql(rest))).table, mysql_name);
    }
}

#[test]
fn deleted_row_counts_as_whole_only_after_an_update_with_before() {
    let mut first = decoder(settings(Format::Debezium));
    let delete = postgres(r#""op":"d","before":{"id":1,"total":0},"after":null"#);
    let whole_update = postgres(r#""op":"u","before":{"id":1,"total":0},"after":{"id":1,"total":1}"#);
    let bare_update = postgres(r#""op":"u","before":null,"after":{"id":1,"total":1}"#);
    let believed = |decoder: &mut Decoder| {
        let change = change(decoder, &input(KEY, &delete));
        assert_eq!(change.trimmed, fields(change.before.as_ref()).len() == 1);
        !change.trimmed
    };
    assert!(!believed(&mut first));
    change(&mut first, &input(KEY, &whole_update));
    assert!(believed(&mut first));
    // Decoders share what one of them learned. A table of the same name in another account is another table.
    let mut sibling = Decoder::new(first.settings.clone(), first.whole_tables.clone());
    assert!(believed(&mut sibling));
    let other = crate::decode::Settings { account: "other".into(), ..settings(Format::Debezium) };
    assert!(!believed(&mut Decoder::new(std::sync::Arc::new(other), first.whole_tables.clone())));
    // A separate copy has the same state, and the others learn nothing from it.
    let mut apart = Decoder::new(first.settings.clone(), first.whole_tables.fork());
    assert!(believed(&mut apart));
    change(&mut apart, &input(KEY, &bare_update));
    assert!(!believed(&mut apart) && believed(&mut first));
    change(&mut sibling, &input(KEY, &bare_update));
    assert!(!believed(&mut first));
    let whole = crate::decode::Settings { rows_sent: RowsSent::Whole, ..settings(Format::Debezium) };
    assert!(believed(&mut Decoder::new(std::sync::Arc::new(whole), WholeTables::default())));
}

#[test]
fn fields_that_the_source_did_not_send_are_listed() {
    let missing = |change: RowChange<'_>| {
        change.missing_fields().map(|field| field.name.clone().into_owned()).collect::<Vec<_>>()
    };
    let mut decoder = decoder(settings(Format::Debezium));
    let mut of = |rest: &str| missing(change(&mut decoder, &input(KEY, &postgres(rest))));
    // The insert after a change of the key, with an unchanged TOAST value under the default replica identity.
    assert_eq!(of(r#""op":"c","after":{"id":1,"notes":"__debezium_unavailable_value"}"#), ["notes"]);
    assert_eq!(of(r#""op":"d","before":{"id":1,"notes":"","total":0}"#), ["notes", "total"]);
    let after = r#""after":{"id":1,"notes":"__debezium_unavailable_value"}"#;
    assert_eq!(of(&format!(r#""op":"u","before":null,{after}"#)), ["notes"]);
    assert!(of(&format!(r#""op":"u","before":{{"id":1,"notes":"x"}},{after}"#)).is_empty());
}

/// The second record is read without its schema, which is known.
#[test]
fn a_payload_is_read_the_same_with_a_known_schema() {
    for inner in [r#""payload":null"#, r#""payload":{"op":"d"}"#, r#""schema":{},"payload":null"#, r#""schema":1"#] {
        let payload = mysql(&format!(r#""op":"c","after":{{"id":1}},{inner}"#));
        let record = format!(r#"{{"schema":{{"type":"struct"}},"payload":{payload}}}"#);
        let mut decoder = decoder(settings(Format::Debezium));
        let first = format!("{:?}", change(&mut decoder, &input(KEY, &record)));
        assert_eq!(format!("{:?}", change(&mut decoder, &input(KEY, &record))), first, "{inner}");
    }
}

#[test]
fn key_wrapped_in_its_schema_is_unwrapped() {
    let delete = postgres(r#""op":"d","before":{"id":1,"total":0}"#);
    let wrapped = r#"{"schema":{"type":"struct"},"payload":{"id":1}}"#;
    let mut decoder = decoder(settings(Format::Debezium));
    let bare = change(&mut decoder, &input(KEY, &delete));
    let wrapped = change(&mut decoder, &input(Some(wrapped), &delete));
    assert_eq!(bare.identity, wrapped.identity);
    assert_eq!(fields(wrapped.before.as_ref()), ["id=1"]);
    assert!(wrapped.trimmed);
}

#[test]
fn key_with_columns_named_schema_and_payload_is_not_unwrapped() {
    let record = postgres(r#""op":"c","after":{}"#);
    let key = r#"{"schema":"a","payload":"b","id":1}"#;
    let change = change(&mut decoder(settings(Format::Debezium)), &input(Some(key), &record));
    assert!(matches!(change.identity, Identity::Debezium(text) if text.ends_with(key)));
}

#[test]
fn delete_without_its_row_uses_the_key() {
    let record = postgres(r#""op":"d","before":null,"after":null"#);
    let deleted = change(&mut decoder(settings(Format::Debezium)), &input(KEY, &record));
    assert_eq!((fields(deleted.before.as_ref()), deleted.trimmed), (vec!["id=1".to_owned()], true));
    assert_eq!(reason(&record, None), "`before` is missing: a delete needs the deleted row");
}

#[test]
fn delete_with_an_unusable_key_is_rejected() {
    let record = postgres(r#""op":"d","before":{"id":1,"total":0}"#);
    let reason = reason(&record, Some("1"));
    assert!(
        reason.contains("the record's key is not a JSON object") && reason.contains("rows = \"whole\""),
        "{reason}"
    );
}

#[test]
fn schema_registry_key_is_rejected_with_the_reason() {
    let record = postgres(r#""op":"d","before":{"id":1,"total":0}"#);
    for key in [&b"\0\0\0\0\x07\x02"[..], b"\0\0\0\0\x07\xff"] {
        let input = Input { key: Some(key), ..input(None, &record) };
        let error = decoder(settings(Format::Debezium)).decode(&input).expect_err("no key").to_string();
        assert!(
            error.contains(
                "key is not a JSON object (it is in a Schema Registry's wire format (byte 0, then schema id 7)"
            )
        );
    }
}

/// Rows of a table without a key share a position, so an empty key must not identify all of them.
#[test]
fn empty_key_counts_as_no_key() {
    let record = postgres(r#""op":"c","after":{"a":1}"#);
    let mut decoder = decoder(settings(Format::Debezium));
    let keyless = change(&mut decoder, &input(None, &record)).identity;
    for key in ["", " ", "\u{feff}", "null"] {
        assert_eq!(change(&mut decoder, &input(Some(key), &record)).identity, keyless, "{key:?}");
    }
}

#[test]
fn binary_keys_still_make_an_identity() {
    let record = postgres(r#""op":"c","after":{"id":1}"#);
    let input = Input { key: Some(b"\xff\x00"), ..input(None, &record) };
    let change = change(&mut decoder(settings(Format::Debezium)), &input);
    assert!(matches!(change.identity, Identity::Debezium(text) if text.ends_with("9 c bytes ff00")));
}

#[test]
fn signals_are_recognised_by_the_configured_table_or_by_shape() {
    let signal = postgres(r#""op":"c","after":{"id":"1","type":"execute-snapshot","data":"{}"}"#);
    let logged = postgres(r#""op":"c","after":{"id":"1","type":"log","data":"{}"}"#);
    let ignored = |table: Option<&str>, record: &str| {
        let settings = crate::decode::Settings { signal_table: table.map(str::to_owned), ..settings(Format::Debezium) };
        matches!(decoder(settings).decode(&input(KEY, record)), Ok(Decoded::Ignored(Ignored::Signal)))
    };
    assert!(ignored(None, &signal));
    assert!(!ignored(None, &logged), "a user's table may look like this");
    for table in ["orders", "public.orders", "shop.orders", "shop.public.orders"] {
        assert!(ignored(Some(table), &logged), "{table}");
    }
    for table in ["rders", "x.orders", "shop.public.signals", "xpublic.orders", "orders.orders", ""] {
        assert!(!ignored(Some(table), &signal), "{table}");
    }
}

#[test]
fn connector_metadata_records_are_ignored_by_kind() {
    let transaction = r#"{"status":"END","id":"1:2","event_count":1,"data_collections":[],"ts_ms":1}"#;
    let ddl = r#"{"source":{"file":"b.1"},"ts_ms":1,"databaseName":"shop","ddl":"DROP TABLE t","tableChanges":[]}"#;
    for (record, kind) in [
        (r#"{"ts_ms":1}"#, Ignored::Heartbeat),
        (transaction, Ignored::Transaction),
        (ddl, Ignored::SchemaChange),
        (r#"{"op":"m","source":{},"message":{"prefix":"p","content":""}}"#, Ignored::LogicalMessage),
        (r#"{"op":"t","source":{},"before":null,"after":null}"#, Ignored::Truncate),
        (r#"{"op":"r","source":{},"after":{}}"#, Ignored::Snapshot),
        ("null", Ignored::Tombstone),
        (r#"{"schema":null,"payload":null}"#, Ignored::Tombstone),
    ] {
        let schema = format!(r#"{{"schema":{{"type":"struct"}},"payload":{record}}}"#);
        for record in [record, &schema] {
            let decoded = decoder(settings(Format::Debezium)).decode(&input(None, record));
            // A tombstone in two wrappings is not a tombstone.
            if record.matches("payload").count() < 2 {
                assert!(matches!(decoded, Ok(Decoded::Ignored(found)) if found == kind), "{record}: {decoded:?}");
            }
        }
    }
}

#[test]
fn event_source_is_read_from_a_row_field() {
    let rule = Some(EventSourceRule::Field("by".to_owned()));
    let mut decoder = decoder(crate::decode::Settings { event_source: rule, ..settings(Format::Debezium) });
    let record = postgres(r#""op":"u","before":{"by":"Tasks"},"after":{"by":"__debezium_unavailable_value"}"#);
    assert_eq!(change(&mut decoder, &input(KEY, &record)).source, Some(EventSource::Tasks));
}

#[test]
fn errors_name_the_wrong_value_and_the_allowed_ones() {
    for (record, expected) in [
        (r#"{"op":"x","source":{"table":"t"}}"#, r#"`op` is "x": it must be c, u, d, r, t or m"#),
        (r#"{"op":"c","after":{}}"#, "`source` is missing: it must say which table changed"),
        (r#"{"op":"c","source":{},"after":{}}"#, "`source.table` is missing: it must be the table's name"),
        (r#"{"op":"u","source":{"table":"t"}}"#, "`after` is missing: an update needs the new row"),
        (
            r#"{"op":"c","source":"x","after":{}}"#,
            "`source`: invalid type: string \"x\", expected an object that says which table changed at line 1 column 22",
        ),
        (r#"{"op":"c","after":{"a":tru}}"#, "`after`: expected ident at line 1 column 27"),
        ("7", "invalid type: integer `7`, expected a change event's envelope, which is an object at line 1 column 1"),
    ] {
        assert_eq!(reason(record, None), expected, "{record}");
    }
    let nothing = reason(r#"{"hello":"world"}"#, None);
    assert!(nothing.starts_with("`op` is missing: it must be c, u, d, r, t or m"), "{nothing}");
}

#[test]
fn error_position_counts_from_the_record_start_after_a_cached_schema() {
    let mut decoder = decoder(settings(Format::Debezium));
    let record = |payload: &str| format!(r#"{{"schema":{{"type":"struct"}},"payload":{payload}}}"#);
    change(&mut decoder, &input(None, &record(&postgres(r#""op":"c","after":{}"#))));
    let error = decoder.decode(&input(None, &record("{\"op\":7}"))).expect_err("op is a text").to_string();
    assert!(error.ends_with("`op`: invalid type: integer `7`, expected a string at line 1 column 45"), "{error}");
}
