//! Dead letters as text: a row of a table, or all of one letter.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::super::text::{WRITE_EXPECT, line, lines, or_none, position_text, printable, url_origin};
use crate::dead_letters::{DeadLetter, DeadLetterContent, DeadLetterKind};
use crate::definition::redact_secrets;

pub(super) const TABLE_HEADER: [&str; 8] =
    ["ID", "WRITTEN (UTC)", "CLASS", "WEBHOOK", "EVENT", "TRIES", "ENDPOINT OR RECORD", "CAUSE"];

pub(super) fn row(letter: &DeadLetter) -> Vec<String> {
    let endpoint = letter.url.as_deref().and_then(url_origin).map(|endpoint| printable(endpoint).into_owned());
    vec![
        letter.id.to_string(),
        letter.written_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        or_none(letter.class.as_deref().map(printable)),
        or_none(letter.webhook),
        or_none(letter.event),
        or_none(letter.attempts),
        or_none(endpoint.or_else(|| source_position(letter))),
        or_none(cause(letter)),
    ]
}

/// Cause of a letter. A redrive comes first, because it is the most important fact about the letter.
fn cause(letter: &DeadLetter) -> Option<String> {
    let cause = letter.cause.as_deref().map(printable).map(Cow::into_owned);
    match letter.redriven_at {
        Some(at) => Some(format!("redriven {}; {}", at.strftime("%Y-%m-%d %H:%M:%S"), cause.unwrap_or_default())),
        None => cause,
    }
}

fn source_position(letter: &DeadLetter) -> Option<String> {
    Some(position_text(letter.topic.as_deref()?, letter.partition?, letter.offset?))
}

/// Whole letter: its headers with explanations, then its body.
pub(super) fn letter(opened: &DeadLetterContent, show_secrets: bool) -> String {
    let DeadLetterContent { letter, key, value } = opened;
    let mut text = format!("dead letter {}\n", letter.id);
    let what = letter.kind.map(|kind| match kind {
        DeadLetterKind::Call => "a call: one message to one URL",
        DeadLetterKind::Record => "a record that no message could be made of",
        DeadLetterKind::Redriven => "not a letter, but a marker: another letter was redriven",
    });
    line(&mut text, "what", what);
    line(&mut text, "class", letter.class.as_deref().map(printable));
    line(&mut text, "cause", letter.cause.as_deref().map(printable));
    let attempts = letter.attempts.map(|attempts| match letter.status {
        Some(status) => format!("{attempts}; the last response had status {status}"),
        None => attempts.to_string(),
    });
    line(&mut text, "attempts", attempts);
    line(&mut text, "queued", letter.first_due);
    line(&mut text, "ended", letter.ended_at);
    line(&mut text, "written", Some(letter.written_at));
    line(&mut text, "redriven", letter.redriven_at);
    line(&mut text, "letter", letter.redriven_letter);
    line(&mut text, "account", letter.account.as_ref().map(|account| printable(account.as_str())));
    line(&mut text, "webhook", letter.webhook);
    line(&mut text, "event", letter.event);
    line(&mut text, "message", letter.message.map(|id| format!("{id}, the receiver's webhook-id")));
    line(&mut text, "call", letter.call);
    line(&mut text, "url", letter.url.as_deref().map(printable));
    line(&mut text, "event date", letter.event_date.as_deref().map(printable));
    line(&mut text, "sequence", letter.sequence.as_deref().map(printable));
    line(&mut text, "row change", source_position(letter).map(|place| format!("topic {place} (partition:offset)")));
    let stamped = letter.timestamp.map(|at: Timestamp| format!("{at}, its record's Kafka timestamp"));
    line(&mut text, "change of", stamped);
    line(
        &mut text,
        "omitted",
        letter.dropped_value_bytes.map(|bytes| format!("the body, {bytes} bytes: the topic did not accept it")),
    );
    line(
        &mut text,
        "omitted",
        letter.dropped_key_bytes.map(|bytes| format!("the key, {bytes} bytes, for the same reason")),
    );
    let shown = |bytes: &[u8]| {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        if show_secrets { shown } else { redact_secrets(&shown).into_owned() }
    };
    if letter.kind != Some(DeadLetterKind::Call) {
        line(&mut text, "key", key.as_deref().map(|key| printable(&shown(key)).into_owned()));
    }
    match value {
        Some(value) => writeln!(text, "body, {} bytes:\n{}", value.len(), lines(&shown(value))).expect(WRITE_EXPECT),
        None => text.push_str("no body\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::table;
    use crate::kafka::topic_reader::Record;

    fn opened(offset: i64, headers: &[(&str, &str)], value: &[u8]) -> DeadLetterContent {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let record = Record { partition: 2, offset, timestamp_ms: 7_000, key: Some(b"k"), value: Some(value), headers };
        DeadLetterContent { letter: DeadLetter::read(&record), key: Some(b"k".to_vec()), value: Some(value.to_vec()) }
    }

    const CALL: [(&str, &str); 8] = [
        ("outhook-kind", "call"),
        ("outhook-class", "status_5xx"),
        ("outhook-cause", "https://a.example answered\n500"),
        ("outhook-webhook", "abc123"),
        ("outhook-event", "def456"),
        ("outhook-url", "https://a.example/hook?token=1"),
        ("outhook-attempts", "5"),
        ("outhook-status", "500"),
    ];
    const RECORD: [(&str, &str); 5] = [
        ("outhook-kind", "record"),
        ("outhook-class", "undecodable"),
        ("outhook-topic", "changes"),
        ("outhook-partition", "3"),
        ("outhook-offset", "9"),
    ];

    #[test]
    fn dead_letter_table_has_one_aligned_line_each_without_url_tokens() {
        let rows = [opened(1044, &CALL, b"{}"), opened(7, &RECORD, b"\xff")].map(|opened| row(&opened.letter));
        assert_eq!(
            table(&TABLE_HEADER, &rows),
            "\
ID      WRITTEN (UTC)        CLASS        WEBHOOK  EVENT   TRIES  ENDPOINT OR RECORD  CAUSE
2:1044  1970-01-01 00:00:07  status_5xx   abc123   def456  5      https://a.example   https://a.example answered 500
2:7     1970-01-01 00:00:07  undecodable  -        -       -      changes 3:9         -
"
        );
    }

    #[test]
    fn dead_letter_details_show_known_properties_and_hide_secrets() {
        let body = br#"{"secret":"whsec_AAAA","data":[]}"#;
        let shown = letter(&opened(1044, &CALL, body), false);
        assert!(shown.starts_with("dead letter 2:1044\n  what        a call: one message to one URL\n"), "{shown}");
        assert!(shown.contains("  attempts    5; the last response had status 500\n"), "{shown}");
        assert!(shown.ends_with("body, 33 bytes:\n{\"secret\":\"whsec_…\",\"data\":[]}\n"), "{shown}");
        assert!(!shown.contains("queued") && !shown.contains("  key"), "{shown}");
        assert!(letter(&opened(1044, &CALL, body), true).contains("whsec_AAAA"));
        let record = letter(&opened(7, &RECORD, b"\xff\x1b[2J\na"), false);
        assert!(record.contains("topic changes 3:9") && record.contains("  key         k\n"), "{record}");
        assert!(record.ends_with("body, 7 bytes:\n\u{fffd} [2J\na\n"), "{record}");
    }
}
