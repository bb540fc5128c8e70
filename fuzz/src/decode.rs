//! A record of a source topic → a row change, in each format and with each setting.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use outhook::decode::{
    DecodeError, Decoded, Decoder, EventDate, EventSourceRule, Format, Identity, Input, Row, RowChange, RowsSent,
    Sequence, Settings, SnapshotRows, TableNaming, UnknownChangePolicy, WholeTables, unknown_keys,
};
use outhook::json;
use outhook::vocabulary::Operation;
use serde_json::value::RawValue;

use super::{MARKER, is_only_in, split};

/// Max characters of an error: an excerpt of at most 240 of its reason, the place in the record, and fixed text.
const MAX_ERROR: usize = 400;

/// The rows of a record, whose values are confidential.
const ROWS: [&str; 4] = ["/before", "/after", "/payload/before", "/payload/after"];

/// The bytes are a line with up to three characters, whose lowest six bits choose settings: see [`FuzzRecord::of`].
/// Then the key's line, if the settings say that there is a key. The rest is the value.
///
/// - A record gives the same when it is read again, with its schema and its table known.
/// - A row change has the row that its operation sends. Fields have distinct names and valid JSON. Without a schema
///   all of them are borrowed from the record.
/// - Sequence and event date are read from their text again. The identity is not empty.
/// - A row change that is written in the `outhook` format is decoded to the same rows.
/// - An error is short and shows no value of a row.
pub fn decode(bytes: &[u8]) {
    let record = FuzzRecord::of(bytes);
    let input = record.input();
    let mut decoder = Decoder::new(record.settings.clone(), WholeTables::default());
    let first = decoder.decode(&input);
    let again = decoder.decode(&input);
    assert_eq!(format!("{first:?}"), format!("{again:?}"), "a record that is read again");
    let value = record.value.unwrap_or_default();
    match &first {
        Ok(Decoded::Change(change)) => {
            let text = std::str::from_utf8(value).expect("a row change is read from text");
            let members: Option<HashMap<Cow<'_, str>, &RawValue>> = serde_json::from_str(text).ok();
            check_change(change, members.is_some_and(|members| !members.contains_key("schema")));
        }
        Ok(Decoded::Ignored(kind)) => assert!(!kind.as_str().is_empty()),
        Err(error) => check_error(error, value),
    }
    let _ = unknown_keys(record.settings.format, value);
}

struct FuzzRecord<'b> {
    settings: Arc<Settings>,
    timestamp_ms: i64,
    headers: Vec<(&'static str, &'static [u8])>,
    key: Option<&'b [u8]>,
    value: Option<&'b [u8]>,
}

impl<'b> FuzzRecord<'b> {
    /// First character: 1 Debezium, 2 snapshot rows are inserts, 4 rows are whole, 8 unknown changes are skipped,
    /// 16 `schema.table`, 32 `database.table`. Second: 1 to 3 the event source is a constant, a header, a field;
    /// 4 signal table, 8 key, 16 tombstone, 32 headers of a flattened row. Third: the record's timestamp.
    fn of(bytes: &'b [u8]) -> Self {
        let (flags, rest) = split(bytes, b"\n");
        let flag = |at: usize, bits: u8| flags.get(at).is_some_and(|flags| flags & bits == bits);
        let mut settings = Settings::new(if flag(0, 1) { Format::Debezium } else { Format::Outhook });
        settings.account = "acme".into();
        settings.snapshot_rows = if flag(0, 2) { SnapshotRows::Insert } else { SnapshotRows::Ignore };
        settings.rows_sent = if flag(0, 4) { RowsSent::Whole } else { RowsSent::Learn };
        settings.unknown_change = if flag(0, 8) { UnknownChangePolicy::Skip } else { UnknownChangePolicy::Fire };
        settings.table_naming = match (flag(0, 16), flag(0, 32)) {
            (true, _) => TableNaming::SchemaTable,
            (_, true) => TableNaming::DatabaseTable,
            _ => TableNaming::Table,
        };
        settings.event_source = match flags.get(1).map_or(0, |flags| flags & 3) {
            1 => "Tasks".parse().ok().map(EventSourceRule::Constant),
            2 => Some(EventSourceRule::Header("source".to_owned())),
            3 => Some(EventSourceRule::Field("src".to_owned())),
            _ => None,
        };
        settings.signal_table = flag(1, 4).then(|| "public.dbz_signal".to_owned());
        let (key, value) = if flag(1, 8) { split(rest, b"\n") } else { (&[][..], rest) };
        let mut headers: Vec<(&'static str, &'static [u8])> = vec![("source", b"RESTAPIs")];
        if flag(1, 32) {
            headers.push(("__op", b"c"));
        }
        let timestamps = [
            0,
            1_709_212_455,
            1_709_212_455_123,
            1_709_212_455_123_456,
            1_709_212_455_123_456_789,
            i64::MAX,
            i64::MIN,
            -1,
        ];
        Self {
            settings: Arc::new(settings),
            timestamp_ms: timestamps[flags.get(2).map_or(2, |flags| usize::from(flags & 7))],
            headers,
            key: flag(1, 8).then_some(key),
            value: (!flag(1, 16)).then_some(value),
        }
    }

    fn input(&self) -> Input<'_> {
        Input {
            topic: "changes",
            partition: 3,
            offset: 9,
            timestamp_ms: self.timestamp_ms,
            key: self.key,
            value: self.value,
            headers: &self.headers,
        }
    }
}

fn check_error(error: &DecodeError, value: &[u8]) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.chars().count() <= MAX_ERROR, "{} characters", text.chars().count());
    if std::str::from_utf8(value).is_ok_and(|value| is_only_in(value, MARKER, &ROWS)) {
        assert!(!text.contains(MARKER), "{text}");
    }
}

fn check_change(change: &RowChange<'_>, is_borrowed: bool) {
    assert!(!change.account.is_empty() && !change.table.is_empty());
    assert!(change.sent_row().is_some());
    assert!(!change.trimmed || change.operation == Operation::Delete);
    for row in [&change.before, &change.after].into_iter().flatten() {
        check_row(row, is_borrowed);
    }
    let sent: HashSet<&str> = change.sent_fields().map(|(field, _)| &*field.name).collect();
    let row = change.sent_row().map_or(0, |row| row.fields.len());
    assert_eq!(sent.len() + change.missing_fields().count(), row, "each field is sent or missing");
    assert!(change.missing_fields().all(|field| !sent.contains(&*field.name)));

    assert_eq!(Sequence::parse(&change.sequence.to_string()), Some(change.sequence));
    let date = change.event_date.to_string();
    assert_eq!(EventDate::from_rfc3339(&date), Some(change.event_date), "{date}");
    let mut identity = Vec::new();
    change.identity.write_canonical(&mut identity);
    assert!(identity.len() > 1);
    check_rewritten(change);
}

fn check_row(row: &Row<'_>, is_borrowed: bool) {
    let mut names = HashSet::new();
    for field in &row.fields {
        let json: &RawValue = serde_json::from_str(&field.value.json).expect("a value is valid JSON");
        assert_eq!(json.get(), field.value.json, "a value has no white space around it");
        assert!(!is_borrowed || matches!(field.value.json, Cow::Borrowed(_)), "{} is copied", field.name);
        assert!(names.insert(&*field.name), "two fields have the name {}", field.name);
        assert!(row.get(&field.name).is_some_and(|value| std::ptr::eq(value, &field.value)));
        let key = quoted_name(|name| field.write_name(name));
        serde_json::from_str::<&RawValue>(&key).expect("a name is written as a JSON key");
        match json::unescape(&key) {
            Some(name) => assert_eq!(name, field.name),
            None => assert_eq!(json::between_quotes(&key), field.name, "half a surrogate pair stays as it is"),
        }
    }
}

fn quoted_name(write: impl FnOnce(&mut String)) -> String {
    let mut text = String::from("\"");
    write(&mut text);
    text.push('"');
    text
}

/// Writes the change as a producer of the `outhook` format would, and decodes that.
fn check_rewritten(change: &RowChange<'_>) {
    let text = |text: &str| quoted_name(|out| json::escape(text, out));
    let mut record = format!(
        r#"{{"id":"1","account":{},"table":{},"operation":"{}","time":"{}""#,
        text(&change.account),
        text(&change.table),
        change.operation,
        change.event_date
    );
    for (side, row) in [("before", &change.before), ("after", &change.after)] {
        let Some(row) = row else { continue };
        let field = |field: &outhook::decode::Field<'_>| {
            format!("{}:{}", quoted_name(|name| field.write_name(name)), field.value.json)
        };
        let fields: Vec<String> = row.fields.iter().map(field).collect();
        record.push_str(&format!(r#","{side}":{{{}}}"#, fields.join(",")));
    }
    record.push('}');
    let fuzzed = FuzzRecord::of(b"");
    let input = Input { value: Some(record.as_bytes()), ..fuzzed.input() };
    let mut decoder = Decoder::new(fuzzed.settings.clone(), WholeTables::default());
    let again = match decoder.decode(&input) {
        Ok(Decoded::Change(again)) => again,
        other => panic!("{record} is read as {other:?}"),
    };
    assert_eq!((&again.account, &again.table, again.operation), (&change.account, &change.table, change.operation));
    assert_eq!(again.event_date, change.event_date);
    assert_eq!(again.identity, Identity::ProducerId("1".into()));
    assert_eq!(texts(&again.before), texts(&change.before));
    assert_eq!(texts(&again.after), texts(&change.after));
}

fn texts<'r>(row: &'r Option<Row<'_>>) -> Option<Vec<(&'r str, &'r str)>> {
    let fields = &row.as_ref()?.fields;
    Some(fields.iter().map(|field| (&*field.name, &*field.value.json)).collect())
}
