//! The last few messages, one line each, so people see what is sent.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::oracle::{Finding, Judgement};

/// Lines that are kept. With this number the REST example above the block is still visible in 24 rows.
pub const KEPT: usize = 5;

/// Min time between two kept messages without a fault: people could not read more.
const APART: SignedDuration = SignedDuration::from_millis(150);

/// Max characters shown of a body or path.
const SHOWN: usize = 160;

/// One message.
#[derive(Clone)]
pub struct Glimpse {
    pub at: Timestamp,
    pub path: String,
    pub judgement: Judgement,
    /// The body's summary on one line, without control characters and without its secret.
    pub text: String,
}

/// The last few messages.
#[derive(Default)]
pub struct Glimpses(Mutex<VecDeque<Glimpse>>);

impl Glimpses {
    /// Keeps the message if it has a fault, or if none was kept recently.
    pub fn offer(&self, at: Timestamp, path: &str, judgement: Judgement, body: &[u8]) {
        let fine = matches!(judgement, Judgement::Found(Finding::Delivered(_) | Finding::Other));
        let mut glimpses = self.0.lock();
        if fine && glimpses.back().is_some_and(|last| at.duration_since(last.at) < APART) {
            return;
        }
        if glimpses.len() == KEPT {
            glimpses.pop_front();
        }
        let path = one_line(path).chars().take(SHOWN).collect();
        glimpses.push_back(Glimpse { at, path, judgement, text: gist(body) });
    }

    /// All kept messages, oldest first.
    pub fn all(&self) -> Vec<Glimpse> {
        self.0.lock().iter().cloned().collect()
    }
}

/// The parts of a default payload that differ from message to message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefaultPayload<'a> {
    event_type: &'a str,
    object_name: &'a str,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// Type, table and row of a default payload; any other body unchanged, unless it contains a secret.
fn gist(body: &[u8]) -> String {
    if let Ok(DefaultPayload { event_type, object_name, data }) = serde_json::from_slice(body) {
        let row = data.first().map_or("", |row| row.get());
        return one_line(&format!("{} {object_name} {row}", event_type.trim_start_matches("table.record")));
    }
    let text = String::from_utf8_lossy(body);
    if text.contains("whsec_") { "(body hidden: it contains a secret)".to_owned() } else { one_line(&text) }
}

/// The beginning of a text on one line: each run of white space and control characters becomes one space, because a
/// row may contain escape codes for the terminal.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > 4 * SHOWN {
            break;
        }
    }
    line.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Judgement = Judgement::Found(Finding::Other);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn the_gist_of_a_default_payload_is_its_row() {
        let body = br#"{"eventId":"4040va","secret":"whsec_x","eventType":"table.recordUpdate",
            "objectName":"Orders","data":[{"Status": "paid"}]}"#;
        assert_eq!(gist(body), r#"Update Orders {"Status": "paid"}"#);
    }

    #[test]
    fn terminal_control_codes_and_secrets_are_not_shown() {
        assert_eq!(gist("{\n  \"a\": \"\u{9b}31m\u{1b}[2J\"}".as_bytes()), "{ \"a\": \" 31m [2J\"}");
        assert_eq!(gist(br#"{"mine":"whsec_c2VjcmV0"}"#), "(body hidden: it contains a secret)");
        assert_eq!(gist("x".repeat(10_000).as_bytes()).len(), SHOWN);
    }

    #[test]
    fn few_messages_are_kept_but_every_fault_is() {
        let glimpses = Glimpses::default();
        glimpses.offer(at(0), "/a", FINE, b"");
        glimpses.offer(at(149), "/b", FINE, b"");
        glimpses.offer(at(149), "/c", Judgement::BadSignature, b"");
        let paths: Vec<_> = glimpses.all().into_iter().map(|glimpse| glimpse.path).collect();
        assert_eq!(paths, ["/a", "/c"]);
        (1..100).for_each(|n| glimpses.offer(at(1_000 * n), "/d", FINE, b""));
        assert_eq!(glimpses.all().len(), KEPT);
    }
}
