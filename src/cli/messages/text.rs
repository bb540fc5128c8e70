//! Messages as text: a row of a table, or all attempts of one message.

use std::fmt::Write as _;

use super::super::text::{WRITE_EXPECT, line, or_none, position_text, printable, url_origin};
use crate::message_log::{Attempt, LogEntry, oldest_first};

pub(super) const TABLE_HEADER: [&str; 9] =
    ["MESSAGE", "AT (UTC)", "STATUS", "CLASS", "WEBHOOK", "EVENT", "TRIES", "MS", "ENDPOINT"];

pub(super) fn row(entry: &LogEntry) -> Vec<String> {
    vec![
        entry.message.to_string(),
        entry.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        entry.status.as_str().to_owned(),
        or_none(entry.class.as_deref().map(printable)),
        entry.webhook.to_string(),
        entry.event.to_string(),
        entry.attempts.to_string(),
        or_none(entry.attempt.as_ref().map(|attempt| attempt.latency_ms)),
        or_none(entry.url.as_deref().and_then(url_origin).map(printable)),
    ]
}

/// Message and its attempts, oldest first; None if there are no entries.
pub(super) fn message(entries: Vec<LogEntry>) -> Option<String> {
    let entries = oldest_first(entries);
    let first = entries.first()?;
    let mut text = format!("message {}, the receiver's webhook-id\n", first.message);
    line(&mut text, "account", Some(printable(first.account.as_str())));
    line(&mut text, "webhook", Some(first.webhook));
    line(&mut text, "event", Some(first.event));
    let source = &first.source;
    let place = position_text(&source.topic, source.partition, source.offset);
    line(&mut text, "row change", Some(format!("topic {place} (partition:offset)")));
    for entry in &entries {
        attempt(&mut text, entry);
    }
    Some(text)
}

fn attempt(text: &mut String, entry: &LogEntry) {
    let what = match entry.attempt {
        Some(_) => format!("attempt {}", entry.attempts),
        None => format!("no further attempt after {}", entry.attempts),
    };
    writeln!(text, "{what}: {}", entry.status.as_str()).expect(WRITE_EXPECT);
    line(text, "at", Some(entry.at));
    line(text, "url", entry.url.as_deref().map(printable));
    line(text, "class", entry.class.as_deref().map(printable));
    line(text, "cause", entry.cause.as_deref().map(printable));
    if let Some(attempt) = &entry.attempt {
        write_attempt_details(text, attempt);
    }
    line(text, "next", entry.next);
    line(text, "call", entry.call);
    line(text, "version", entry.version.map(|version| format!("{version} of the webhook")));
}

fn write_attempt_details(text: &mut String, attempt: &Attempt) {
    line(text, "address", attempt.address);
    line(text, "latency", Some(format!("{} ms", attempt.latency_ms)));
    line(text, "sent", Some(format!("{} bytes", attempt.request_bytes)));
    line(text, "status", attempt.code);
    line(text, "answer", attempt.response.as_deref().map(printable));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::table;
    use crate::kafka::topic_reader::Record;

    fn entry(at: &str, json: &str) -> LogEntry {
        let json = format!(
            r#"{{"at":"2026-11-24T{at}Z","account":"acme","webhook":"abc123","event":"def456",
                "message":"00000000-0000-0000-0000-000000000007","url":"https://a.example/hook?token=1",
                "source":{{"topic":"changes","partition":1,"offset":9}},{json}}}"#
        );
        let value = Some(json.as_bytes());
        LogEntry::read(&Record { partition: 0, offset: 0, timestamp_ms: 0, key: None, value, headers: Vec::new() })
            .unwrap()
    }

    fn failed() -> LogEntry {
        entry(
            "15:00:00.123",
            r#""status":"WillRetry","attempts":1,"class":"status_5xx","cause":"https://a.example answered 503","next":"2026-11-24T15:00:05Z","attempt":
                {"address":"192.0.2.1:443","code":503,"latency_ms":12.5,"request_bytes":321,"response":"try\nlater"}"#,
        )
    }

    fn cancelled() -> LogEntry {
        entry("15:00:04", r#""status":"Cancelled","attempts":1"#)
    }

    #[test]
    fn message_table_has_one_line_each_without_url_tokens() {
        let rows = [failed(), cancelled()].map(|entry| row(&entry));
        assert_eq!(
            table(&TABLE_HEADER, &rows),
            "\
MESSAGE                               AT (UTC)             STATUS     CLASS       WEBHOOK  EVENT   TRIES  MS    ENDPOINT
00000000-0000-0000-0000-000000000007  2026-11-24 15:00:00  WillRetry  status_5xx  abc123   def456  1      12.5  https://a.example
00000000-0000-0000-0000-000000000007  2026-11-24 15:00:04  Cancelled  -           abc123   def456  1      -     https://a.example
"
        );
    }

    #[test]
    fn message_details_list_each_attempt_once() {
        let shown = message(vec![failed(), cancelled(), failed()]).unwrap();
        assert!(shown.starts_with("message 00000000-0000-0000-0000-000000000007, the receiver's webhook-id\n"));
        assert!(
            shown.contains("  row change  topic changes 1:9 (partition:offset)\nattempt 1: WillRetry\n"),
            "{shown}"
        );
        assert!(shown.contains("  class       status_5xx\n  cause       https://a.example answered 503\n"), "{shown}");
        assert!(
            shown.contains("  address     192.0.2.1:443\n  latency     12.5 ms\n  sent        321 bytes\n"),
            "{shown}"
        );
        assert!(shown.contains("  status      503\n  answer      try later\n  next        2026-11-24T15:00:05Z\n"));
        assert_eq!(shown.matches("attempt 1: WillRetry").count(), 1, "{shown}");
        assert!(shown.contains("no further attempt after 1: Cancelled\n"), "{shown}");
        assert_eq!(message(Vec::new()), None);
    }
}
