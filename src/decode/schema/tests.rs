use std::time::{Duration, Instant};

use super::*;

const SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"struct","field":"after","fields":[
    {"type":"int32","field":"id"},
    {"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"price"},
    {"type":"struct","name":"io.debezium.data.VariableScaleDecimal","field":"any"},
    {"type":"int32","name":"io.debezium.time.Date","field":"day"},
    {"type":"int32","name":"org.apache.kafka.connect.data.Time","field":"at"},
    {"type":"int64","name":"io.debezium.time.MicroTimestamp","field":"seen"},
    {"type":"string","name":"io.debezium.data.Json","field":"doc"},
    {"type":"array","items":{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal",
        "parameters":{"scale":"1"}},"field":"parts"}]}]}"#;

fn applied(schema: &str, row: &str) -> String {
    let mut row = json::row(row).expect("the test gives an object");
    Schema::compile(schema).apply(&mut row);
    row.fields.iter().map(|field| &*field.value.json).collect::<Vec<_>>().join(" ")
}

#[test]
fn values_are_converted_by_their_schema_types() {
    let row = r#"{"id":7,"price":"EtaH","any":{"scale":5,"value":"BMsv"},"day":19782,"at":47655123,
        "seen":1709212455123456,"doc":"{}","parts":["Dw==",null]}"#;
    let expected = r#"7 12345.67 3.14159 "2024-02-29" "13:14:15.123" "2024-02-29T13:14:15.123456" "{}" [1.5,null]"#;
    assert_eq!(applied(SCHEMA, row), expected);
}

/// A struct in a row, an array of structs, and maps with and without string keys.
#[test]
fn nested_values_are_converted_by_their_schema_types() {
    let date = r#""type":"int32","name":"io.debezium.time.Date""#;
    let time = r#""type":"int64","name":"io.debezium.time.MicroTime""#;
    let inner = format!(r#""type":"struct","fields":[{{"type":"string","field":"name"}},{{{time},"field":"at"}}]"#);
    let columns = [
        format!(r#"{{{inner},"field":"one"}}"#),
        format!(r#"{{"type":"array","items":{{{inner}}},"field":"many"}}"#),
        format!(r#"{{"type":"map","keys":{{"type":"string"}},"values":{{{date}}},"field":"named"}}"#),
        format!(r#"{{"type":"map","keys":{{{date}}},"values":{{"type":"string"}},"field":"dated"}}"#),
        r#"{"type":"struct","name":"io.debezium.data.geometry.Point","fields":[{"type":"double","field":"x"}],"field":"at"}"#
            .to_owned(),
    ];
    let schema = format!(r#"{{"type":"struct","fields":[{{"field":"after","fields":[{}]}}]}}"#, columns.join(","));
    let row = r#"{"one": {"at":-3020399000000, "name":"a\u0022"},"many":[{"name":null,"at":3020399000000},null],
        "named":{"a":2146033979,"b":null},"dated":[[6585322,"x"],[0,null]],"at":{"x": 1.0}}"#;
    let expected = [
        r#"{"at":"-838:59:59","name":"a\u0022"}"#,
        r#"[{"name":null,"at":"838:59:59"},null]"#,
        r#"{"a":"infinity","b":null}"#,
        r#"[["+20000-01-01","x"],["1970-01-01",null]]"#,
        r#"{"x": 1.0}"#,
    ];
    assert_eq!(applied(&schema, row), expected.join(" "));
    let absent = r#"{"one":null,"many":null,"named":{},"dated":[],"at":null}"#;
    assert_eq!(applied(&schema, absent), "null null {} [] null");
}

/// Every temporal type at the limits of its counts: a column has one JSON type, for any value.
#[test]
fn a_temporal_columns_json_type_does_not_depend_on_its_value() {
    let types = [
        ("io.debezium.time.Date", i64::from(i32::MIN), i64::from(i32::MAX)),
        ("org.apache.kafka.connect.data.Date", i64::from(i32::MIN), i64::from(i32::MAX)),
        ("io.debezium.time.Time", i64::from(i32::MIN), i64::from(i32::MAX)),
        ("org.apache.kafka.connect.data.Time", i64::from(i32::MIN), i64::from(i32::MAX)),
        ("io.debezium.time.MicroTime", i64::MIN, i64::MAX),
        ("io.debezium.time.NanoTime", i64::MIN, i64::MAX),
        ("io.debezium.time.Timestamp", i64::MIN, i64::MAX),
        ("org.apache.kafka.connect.data.Timestamp", i64::MIN, i64::MAX),
        ("io.debezium.time.MicroTimestamp", i64::MIN, i64::MAX),
        ("io.debezium.time.NanoTimestamp", i64::MIN, i64::MAX),
    ];
    for (name, least, most) in types {
        let schema = format!(r#"{{"fields":[{{"field":"after","fields":[{{"name":"{name}","field":"a"}}]}}]}}"#);
        for count in [least, least + 1, -86_400_000_001, -1, 0, 1, 86_400_000_000, most - 1, most] {
            let count = count.clamp(least, most);
            let json = applied(&schema, &format!(r#"{{"a":{count}}}"#));
            assert!(serde_json::from_str::<String>(&json).is_ok(), "{name} {count}: {json}");
        }
    }
}

#[test]
fn json_columns_are_marked() {
    let mut row = json::row(r#"{"doc":"{}","id":1}"#).expect("an object");
    Schema::compile(SCHEMA).apply(&mut row);
    assert_eq!(row.fields.iter().map(|field| field.value.json_text).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn values_that_do_not_fit_the_schema_stay_unchanged() {
    let row = r#"{"id":null,"price":null,"any":null,"day":null,"at":null,"seen":null,"parts":null}"#;
    assert_eq!(applied(SCHEMA, row), "null null null null null null null");
    let row = r#"{"price":12.5,"any":{"scale":1},"day":"2024-02-29Z","at":1.5,"parts":[]}"#;
    assert_eq!(applied(SCHEMA, row), r#"12.5 {"scale":1} "2024-02-29Z" 1.5 []"#);
}

#[test]
fn fields_in_another_order_than_the_schema_are_matched_by_name() {
    assert_eq!(applied(SCHEMA, r#"{"new":"EtaH","price":"EtaH"}"#), r#""EtaH" 12345.67"#);
}

#[test]
fn unreadable_schema_changes_nothing() {
    for schema in ["null", "[]", r#"{"fields":3}"#] {
        assert_eq!(applied(schema, r#"{"price":"EtaH"}"#), r#""EtaH""#);
    }
}

#[test]
fn schema_cache_compiles_each_schema_once_and_evicts_the_oldest() {
    let text = |n: usize| format!(r#"{{"type":"struct","version":{n}}}"#);
    let mut cache = SchemaCache::default();
    for n in [0, 1, 0, 1] {
        cache.set_last_used(&text(n));
        assert_eq!(cache.last().map(|schema| &*schema.text), Some(&*text(n)));
    }
    assert_eq!(cache.0.len(), 2);
    let message = format!(r#"{{"schema":{},"payload":{{"op":"c"}}}}"#, text(1));
    assert_eq!(cache.payload(&message), Some(r#"{"op":"c"}"#));
    assert_eq!(cache.payload(&message.replace("payload", "data")), None);
    (0..20).for_each(|n| cache.set_last_used(&text(n)));
    assert_eq!(cache.0.len(), MAX_CACHED_SCHEMAS);
}

#[test]
fn reordered_rows_are_not_matched_to_the_schema_in_quadratic_time() {
    const FIELDS: usize = 20_000;
    let columns: Vec<String> = (0..FIELDS).map(|n| format!(r#"{{"type":"int32","field":"field{n}"}}"#)).collect();
    let columns = columns.join(",");
    let schema = format!(r#"{{"type":"struct","fields":[{{"type":"struct","field":"after","fields":[{columns}]}}]}}"#);
    let schema = Schema::compile(&schema);
    let took = |names: &mut dyn Iterator<Item = usize>| {
        let text: Vec<String> = names.map(|n| format!(r#""field{n}":1"#)).collect();
        let text = format!("{{{}}}", text.join(","));
        let mut row = json::row(&text).expect("an object");
        let started = Instant::now();
        schema.apply(&mut row);
        started.elapsed()
    };
    let least = |took: &mut dyn FnMut() -> Duration| (0..3).map(|_| took()).min().unwrap_or_default();
    let same = least(&mut || took(&mut (0..FIELDS)));
    let other = least(&mut || took(&mut (0..FIELDS).rev()));
    // The index costs about ten times a lookup at the same index. A linear scan would cost half of the columns for
    // each field: some thousand times as much.
    assert!(other < same * 300, "{other:?} instead of {same:?}");
}
