//! One header per field of a call: in dead letters, which people read, and in the waiting calls of earlier versions.

use jiff::Timestamp;

use super::{CallDue, CallPart, InvalidCall, MALFORMED, StoredCall, endpoint};
use crate::decode::{EventDate, Sequence};
use crate::deliver::WriteCount;
use crate::id::{CallId, MessageId, RecordPosition};
use crate::settle::outgoing::{HEADER_PREFIX, OutgoingHeaders};

/// Writes the headers.
pub(super) fn write(call: &StoredCall, kind: &str) -> OutgoingHeaders {
    let (endpoint, of) = call.endpoint;
    let headers = OutgoingHeaders::new(kind)
        .add_position(&call.source_position.topic, call.source_position.partition, call.source_position.offset)
        .add("account", &call.account)
        .add("webhook", call.webhook)
        .add("event", call.event)
        .add("message", call.message)
        .add("call", call.call)
        .add("url", &call.url)
        .add("endpoint", format_args!("{endpoint}/{of}"))
        .add("event-date", call.event_date)
        .add("sequence", call.sequence)
        .add("appended-ms", call.appended_ms)
        .add("offered", Timestamp::from_millisecond(call.first_due_ms).unwrap_or(Timestamp::UNIX_EPOCH))
        .add("attempts", call.attempts)
        .add("deferrals", call.deferrals);
    headers.add_optional("row", call.row_key)
}

/// Reads all fields of a call.
pub(super) fn read<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<StoredCall, InvalidCall> {
    let read = HeaderReader { header };
    let offered: Timestamp = read.parsed("offered")?;
    Ok(StoredCall {
        account: read.text("account")?.into(),
        webhook: read.parsed("webhook")?,
        event: read.parsed("event")?,
        message: MessageId(read.parsed("message")?),
        call: CallId(read.parsed("call")?),
        url: read.text("url")?.into(),
        endpoint: read.with("endpoint", endpoint)?,
        event_date: read.with("event-date", EventDate::from_rfc3339)?,
        sequence: read.with("sequence", Sequence::parse)?,
        source_position: RecordPosition {
            topic: read.text("topic")?.into(),
            partition: read.parsed("partition")?,
            offset: read.parsed("offset")?,
        },
        appended_ms: read.parsed("appended-ms")?,
        first_due_ms: offered.as_millisecond(),
        attempts: read.parsed("attempts")?,
        deferrals: read.parsed("deferrals")?,
        write_count: WriteCount {
            requested_ms: read.parse_optional("requested-ms")?,
            writes: read.parse_optional("writes")?,
        },
        row_key: read.parse_optional("row")?,
    })
}

/// Reads until when the call waits.
pub(super) fn read_due<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<CallDue, InvalidCall> {
    let read = HeaderReader { header };
    Ok(CallDue { due_ms: read.parsed("due-ms")?, definitions_offset: read.parsed("definitions")? })
}

/// Reads a dead letter's headers. Earlier versions wrote fewer.
pub(super) fn read_letter<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<StoredCall, InvalidCall> {
    let has_appended = header("outhook-appended-ms").is_some();
    let call = read(|name| header(name).or_else(|| legacy_default(name)))?;
    let appended_ms = if has_appended { call.appended_ms } else { call.first_due_ms };
    Ok(StoredCall { appended_ms, write_count: WriteCount::FIRST, ..call })
}

/// Reads headers. Each error names the header.
struct HeaderReader<F> {
    header: F,
}

impl<'a, F: Fn(&str) -> Option<&'a [u8]>> HeaderReader<F> {
    fn text(&self, name: &'static str) -> Result<&'a str, InvalidCall> {
        let value = (self.header)(&format!("{HEADER_PREFIX}{name}"))
            .ok_or(InvalidCall { part: CallPart::Header(name), problem: "missing" })?;
        std::str::from_utf8(value).map_err(|_| InvalidCall { part: CallPart::Header(name), problem: "not UTF-8 text" })
    }

    fn with<T>(&self, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T, InvalidCall> {
        parse(self.text(name)?).ok_or(InvalidCall { part: CallPart::Header(name), problem: MALFORMED })
    }

    fn parse_optional<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, InvalidCall> {
        match (self.header)(&format!("{HEADER_PREFIX}{name}")) {
            Some(_) => self.parsed(name).map(Some),
            None => Ok(None),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, InvalidCall> {
        self.with(name, |text| text.parse().ok())
    }
}

/// Defaults of headers that dead letters of earlier versions lack.
fn legacy_default(name: &str) -> Option<&'static [u8]> {
    match name.strip_prefix(HEADER_PREFIX)? {
        "endpoint" => Some(b"0/0"),
        "appended-ms" | "deferrals" => Some(b"0"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::definition::samples::webhook;
    use crate::kafka::producer::Headers;
    use crate::rules::Target;
    use crate::settle::stored_call::packed_header::FULL_NAME;
    use crate::settle::stored_call::samples::sample_call;

    /// Calls wait for hours, and instances of two versions run side by side.
    #[test]
    fn headers_of_earlier_versions_are_read() {
        let until = CallDue { due_ms: 1_767_323_099_000, definitions_offset: 77 };
        let headers = write(&sample_call(), "retry");
        let headers = headers.add("due-ms", until.due_ms).add("definitions", until.definitions_offset);
        let uncounted = Headers::from(headers.clone());
        let header = |name: &str| uncounted.get(name);
        let write_count = WriteCount { requested_ms: None, writes: None };
        assert_eq!(StoredCall::read_waiting(header), Ok((StoredCall { write_count, ..sample_call() }, until)));

        let counted = Headers::from(headers.add("requested-ms", 1_767_323_046_001_i64).add("writes", 7));
        let header = |name: &str| counted.get(name);
        assert_eq!((StoredCall::read(header), CallDue::read(header)), (Ok(sample_call()), Ok(until)));
        assert_eq!(StoredCall::read_waiting(header), Ok((sample_call(), until)));
    }

    #[test]
    fn missing_or_invalid_headers_are_named() {
        let none = StoredCall::read(|_| None).unwrap_err().to_string();
        assert_eq!(none, "invalid retry record: header outhook-offered is missing");
        let each = |name: &str| (name != FULL_NAME).then_some(&b"x"[..]);
        let bad = StoredCall::read(each).unwrap_err().to_string();
        assert_eq!(bad, "invalid retry record: header outhook-offered is malformed");
    }

    #[test]
    fn letter_of_an_earlier_version_matches_only_the_same_url() {
        let headers = Headers::from(write(&sample_call(), "call"));
        let without = |missing: &'static [&str]| {
            StoredCall::parse_dead_letter(|name| headers.get(name).filter(|_| !missing.contains(&name)))
        };
        assert_eq!(without(&[]), Ok(StoredCall { write_count: WriteCount::FIRST, ..sample_call() }));
        let older = without(&["outhook-endpoint", "outhook-appended-ms", "outhook-deferrals"]).unwrap();
        assert_eq!((older.appended_ms, older.deferrals), (sample_call().first_due_ms, 0));
        let mut webhook = webhook("abc123", "A");
        webhook.urls = vec!["https://other.example/".to_owned(); 3];
        assert_eq!(older.current_endpoint(&Target::of(&webhook).unwrap()), None);
        webhook.urls[2] = sample_call().url.to_string();
        assert_eq!(older.current_endpoint(&Target::of(&webhook).unwrap()), Some(2));
        assert!(without(&["outhook-url"]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_header_values_never_panic(value: Vec<u8>) {
            let each = |name: &str| (name != FULL_NAME).then_some(&value[..]);
            prop_assert!(StoredCall::read(each).is_err());
            let _ = CallDue::read(each);
        }
    }
}
