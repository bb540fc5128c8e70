//! Glimpses: the last few messages, one line each, for people to see what is sent.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::oracle::Finding;
use super::receiver::Judgement;

/// Lines that are kept: with as many, the requests to copy that stand above the block are still seen in 24 rows.
pub(in crate::dev) const KEPT: usize = 5;

/// Between two glimpses of messages that are as they should be: more could not be read anyway.
const APART: SignedDuration = SignedDuration::from_millis(150);

/// What of a body is shown at most, in characters.
const SHOWN: usize = 160;

/// One message.
#[derive(Clone)]
pub(in crate::dev) struct Glimpse {
    pub(in crate::dev) at: Timestamp,
    pub(in crate::dev) path: String,
    pub(in crate::dev) judgement: Judgement,
    /// What it says, on one line, without control characters and without its secret.
    pub(in crate::dev) text: String,
}

/// The last few.
#[derive(Default)]
pub(in crate::dev) struct Glimpses(Mutex<VecDeque<Glimpse>>);

impl Glimpses {
    /// Keeps the message if there was none of late, or if it is not as it should be.
    pub(in crate::dev) fn offer(&self, at: Timestamp, path: &str, judgement: Judgement, body: &[u8]) {
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

    /// The oldest first.
    pub(in crate::dev) fn all(&self) -> Vec<Glimpse> {
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

/// A default payload's type, table and row; another body as it is.
fn gist(body: &[u8]) -> String {
    if let Ok(DefaultPayload { event_type, object_name, data }) = serde_json::from_slice(body) {
        let row = data.first().map_or("", |row| row.get());
        return one_line(&format!("{} {object_name} {row}", event_type.trim_start_matches("table.record")));
    }
    let text = String::from_utf8_lossy(body);
    if text.contains("whsec_") { "(a body with a secret in it)".to_owned() } else { one_line(&text) }
}

/// The beginning, with each run of white space as one space: a row may hold what a terminal would obey.
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
    fn nothing_that_a_terminal_would_obey_and_no_secret_is_shown() {
        assert_eq!(gist("{\n  \"a\": \"\u{9b}31m\u{1b}[2J\"}".as_bytes()), "{ \"a\": \" 31m [2J\"}");
        assert_eq!(gist(br#"{"mine":"whsec_c2VjcmV0"}"#), "(a body with a secret in it)");
        assert_eq!(gist("x".repeat(10_000).as_bytes()).len(), SHOWN);
    }

    #[test]
    fn few_are_kept_but_every_fault() {
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
