//! The packed header: all fields of a waiting call in one header. Every deferral writes and reads it, and twenty
//! separate headers cost more than all other parts of the record together.
//!
//! Tabs separate the fields. The first field is the format version. The next two say until when the call waits, since
//! they are read most often. Free text may hold anything, so tabs and backslashes in it are escaped. A reader skips
//! fields behind those that it knows.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::str::{FromStr, Split};

use super::{CallDue, CallPart, InvalidCall, MALFORMED, StoredCall, endpoint};
use crate::decode::{EventDate, Sequence};
use crate::deliver::WriteCount;
use crate::id::{CallId, MessageId, RecordPosition};

/// The header's name without the prefix.
pub(super) const SHORT_NAME: &str = "waiting";

/// The header's full name.
pub(super) const FULL_NAME: &str = "outhook-waiting";

const VERSION: &str = "1";

/// Bytes of the fields of fixed and of usual size.
const TYPICAL_BYTES: usize = 320;

/// The header's text. `step` is the step of the record.
pub(super) fn write(call: &StoredCall, step: WriteCount, until: CallDue) -> String {
    let mut fields = PackedWriter(String::with_capacity(TYPICAL_BYTES + call.url.len()));
    fields.0.push_str(VERSION);
    let (endpoint, of) = call.endpoint;
    fields.add(until.due_ms);
    fields.add(until.definitions_offset);
    fields.add_optional(step.requested_ms);
    fields.add_optional(step.writes);
    fields.add(call.attempts);
    fields.add(call.deferrals);
    fields.add(call.webhook);
    fields.add(call.event);
    fields.add(call.message);
    fields.add(call.call);
    fields.add(format_args!("{endpoint}/{of}"));
    fields.add(call.event_date);
    fields.add(call.sequence);
    fields.add(call.appended_ms);
    fields.add(call.first_due_ms);
    fields.add(call.source_position.partition);
    fields.add(call.source_position.offset);
    fields.add_optional(call.row_key);
    fields.add_text(&call.source_position.topic);
    fields.add_text(call.account.as_str());
    fields.add_text(&call.url);
    fields.0
}

/// Reads the call, and until when it waits.
pub(super) fn read(header: &[u8]) -> Result<(StoredCall, CallDue), InvalidCall> {
    let mut fields = PackedReader::of(header)?;
    let until = fields.read_due_fields()?;
    let step =
        WriteCount { requested_ms: fields.parse_optional("requested-ms")?, writes: fields.parse_optional("writes")? };
    let (attempts, deferrals) = (fields.parsed("attempts")?, fields.parsed("deferrals")?);
    let (webhook, event) = (fields.parsed("webhook")?, fields.parsed("event")?);
    let (message, call) = (MessageId(fields.parsed("message")?), CallId(fields.parsed("call")?));
    let endpoint = fields.with("endpoint", endpoint)?;
    let event_date = fields.with("event-date", EventDate::from_rfc3339)?;
    let sequence = fields.with("sequence", Sequence::parse)?;
    let (appended_ms, offered_ms) = (fields.parsed("appended-ms")?, fields.parsed("offered-ms")?);
    let (partition, offset) = (fields.parsed("partition")?, fields.parsed("offset")?);
    let row = fields.parse_optional("row")?;
    let topic = fields.free_text("topic")?;
    let account = fields.free_text("account")?;
    let url = fields.free_text("url")?;
    let call = StoredCall {
        account: (&*account).into(),
        webhook,
        event,
        message,
        call,
        url: (&*url).into(),
        endpoint,
        event_date,
        sequence,
        source_position: RecordPosition { topic: (&*topic).into(), partition, offset },
        appended_ms,
        first_due_ms: offered_ms,
        attempts,
        deferrals,
        write_count: step,
        row_key: row,
    };
    Ok((call, until))
}

/// Reads until when the call waits, and none of the later fields.
pub(super) fn read_due(header: &[u8]) -> Result<CallDue, InvalidCall> {
    PackedReader::of(header)?.read_due_fields()
}

struct PackedWriter(String);

impl PackedWriter {
    fn add(&mut self, value: impl Display) {
        self.0.push('\t');
        write!(self.0, "{value}").expect("writing to a string never fails");
    }

    /// Adds an empty field for None.
    fn add_optional(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.add(value),
            None => self.0.push('\t'),
        }
    }

    fn add_text(&mut self, text: &str) {
        self.0.push('\t');
        if !text.contains(['\t', '\\']) {
            return self.0.push_str(text);
        }
        for part in text.chars() {
            match part {
                '\t' => self.0.push_str("\\t"),
                '\\' => self.0.push_str("\\\\"),
                part => self.0.push(part),
            }
        }
    }
}

/// The fields that are not read yet.
struct PackedReader<'a> {
    fields: Split<'a, char>,
    /// Number of fields read.
    number: usize,
}

impl<'a> PackedReader<'a> {
    /// Opens a header of a known version.
    fn of(header: &'a [u8]) -> Result<Self, InvalidCall> {
        let no_text = InvalidCall { part: CallPart::Header(SHORT_NAME), problem: "not UTF-8 text" };
        let text = std::str::from_utf8(header).map_err(|_| no_text)?;
        let mut reading = Self { fields: text.split('\t'), number: 0 };
        match reading.text("version")? {
            VERSION => Ok(reading),
            _ => Err(reading.field_error("version", "not a version that this Outhook reads")),
        }
    }

    fn read_due_fields(&mut self) -> Result<CallDue, InvalidCall> {
        Ok(CallDue { due_ms: self.parsed("due-ms")?, definitions_offset: self.parsed("definitions")? })
    }

    /// An error in the last field that was read.
    fn field_error(&self, name: &'static str, problem: &'static str) -> InvalidCall {
        InvalidCall { part: CallPart::Field(self.number, name), problem }
    }

    fn text(&mut self, name: &'static str) -> Result<&'a str, InvalidCall> {
        self.number += 1;
        self.fields.next().ok_or_else(|| self.field_error(name, "missing"))
    }

    fn with<T>(&mut self, name: &'static str, parse: impl FnOnce(&'a str) -> Option<T>) -> Result<T, InvalidCall> {
        let text = self.text(name)?;
        parse(text).ok_or_else(|| self.field_error(name, MALFORMED))
    }

    fn parsed<T: FromStr>(&mut self, name: &'static str) -> Result<T, InvalidCall> {
        self.with(name, |text| text.parse().ok())
    }

    fn parse_optional<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, InvalidCall> {
        self.with(name, |text| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) })
    }

    fn free_text(&mut self, name: &'static str) -> Result<Cow<'a, str>, InvalidCall> {
        self.with(name, unescaped)
    }
}

fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(text.into());
    }
    let (mut whole, mut parts) = (String::with_capacity(text.len()), text.chars());
    while let Some(part) = parts.next() {
        whole.push(match part {
            '\\' => match parts.next()? {
                't' => '\t',
                '\\' => '\\',
                _ => return None,
            },
            part => part,
        });
    }
    Some(whole.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settle::stored_call::samples::sample_call;

    const UNTIL: CallDue = CallDue { due_ms: 1_767_323_099_000, definitions_offset: 77 };

    fn written() -> String {
        write(&sample_call(), sample_call().write_count, UNTIL)
    }

    /// Topics hold this format for hours and between versions, so it does not change.
    #[test]
    fn packed_header_format_is_stable() {
        let fields: Vec<_> = [
            "1",
            "1767323099000",
            "77",
            "1767323046001",
            "7",
            "4",
            "2",
            "abc123",
            "def456",
            "00000000-0000-0000-0000-000000000001",
            "00000000-0000-0000-0000-000000000002",
            "1/3",
            "2026-01-02T03:04:05.670Z",
            "000000000000000c-0000000000000159-0000000000000002",
            "1767323045900",
            "1767323046001",
            "3",
            "9",
            "00ff00ff00ff00ff",
            "changes",
            "acme",
            "https://b.example/x?y=é",
        ]
        .into();
        assert_eq!(written().split('\t').collect::<Vec<_>>(), fields);
    }

    #[test]
    fn errors_name_the_invalid_field() {
        let reason = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        let in_field = |field: &str| format!("invalid retry record: field {field}");
        let header = "of header outhook-waiting is";
        assert_eq!(reason(""), in_field(&format!("1 (version) {header} not a version that this Outhook reads")));
        assert_eq!(reason("1"), in_field(&format!("2 (due-ms) {header} missing")));
        let bad_event = written().replace("def456", "DEF456");
        assert_eq!(reason(&bad_event), in_field(&format!("9 (event) {header} malformed")));
        let bad_text = written().replace("acme", "a\\cme");
        assert_eq!(reason(&bad_text), in_field(&format!("21 (account) {header} malformed")));
        let no_text = read(b"\xff").unwrap_err().to_string();
        assert_eq!(no_text, "invalid retry record: header outhook-waiting is not UTF-8 text");
    }

    #[test]
    fn due_time_is_read_alone_and_unknown_fields_are_skipped() {
        assert_eq!(read_due(b"1\t1767323099000\t77"), Ok(UNTIL));
        assert!(read_due(b"2\t1767323099000\t77").is_err());
        assert_eq!(read(format!("{}\tmore", written()).as_bytes()), Ok((sample_call(), UNTIL)));
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["[\t\\\\\nat\u{e9}]{0,8}", any::<String>()]
    }

    proptest! {
        #[test]
        fn written_form_round_trips(
            (account, url, topic) in (texts(), texts(), texts()),
            (due_ms, definitions_offset, requested_ms, writes) in any::<(i64, i64, Option<i64>, Option<u32>)>(),
            (attempts, deferrals, endpoint) in any::<(u32, u32, (usize, usize))>(),
            (message, call, appended_ms, first_due_ms) in any::<(u128, u128, i64, i64)>(),
            (partition, offset, row) in any::<(i32, i64, Option<u64>)>(),
        ) {
            let call = StoredCall {
                account: account.into(),
                url: url.into(),
                message: MessageId(uuid::Uuid::from_u128(message)),
                call: CallId(uuid::Uuid::from_u128(call)),
                endpoint,
                source_position: RecordPosition { topic: topic.into(), partition, offset },
                appended_ms,
                first_due_ms,
                attempts,
                deferrals,
                write_count: WriteCount { requested_ms, writes },
                row_key: row.map(|row| format!("{row:x}").parse().unwrap()),
                ..sample_call()
            };
            let until = CallDue { due_ms, definitions_offset };
            let header = write(&call, call.write_count, until);
            prop_assert_eq!(read(header.as_bytes()), Ok((call, until)));
            prop_assert_eq!(read_due(header.as_bytes()), Ok(until));
        }

        #[test]
        fn arbitrary_text_never_panics(text: Vec<u8>, cut in 0_usize..400, bad: char) {
            let _ = read(&text);
            let mut broken: String = written().chars().take(cut).collect();
            broken.push(bad);
            let _ = read(broken.as_bytes());
        }
    }
}
