//! What the message log is told of calls: decided with the status line, and told when the answer has ended.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::Value;

use super::classify::Class;
use super::{Call, Onward};
use crate::definition::{MAX_HEADER, without_secrets};
use crate::matching::Target;
use crate::message_log::{Attempt, Entry, Status};

/// How much more of an answer is read than is shown, so that a secret at the end is known for one, in bytes: the longest
/// value of a header, of which each sign is escaped (`\u003d`).
const SPARE: usize = 6 * MAX_HEADER;
/// A value that is shorter is not hidden, in bytes: it is no secret, and the text would be full of holes.
const SHORTEST: usize = 4;

/// What an attempt came to until there was an answer, or none.
pub(super) struct Sent {
    /// What was dialled.
    pub peer: Option<SocketAddr>,
    /// What it was authorized by, where the webhook's calls are.
    pub authorization: Option<HeaderValue>,
    pub took: Duration,
}

/// An attempt, as it went.
pub(super) struct Attempted {
    pub sent: Sent,
    pub class: Class,
    /// The HTTP status of whoever answered.
    pub code: Option<u16>,
}

/// An entry that waits for its answer's body.
pub(super) struct Note {
    entry: Entry,
    /// How much of the body it has, in bytes.
    keep: usize,
    target: Arc<Target>,
    authorization: Option<HeaderValue>,
}

impl Note {
    /// Of an attempt that the call has counted; the next one follows after this wait. None if it has no entry.
    pub fn of(
        onward: &dyn Onward,
        call: &Call,
        (status, wait): (Status, Option<Duration>),
        attempted: Attempted,
    ) -> Option<Self> {
        let keep = onward.logs(status, call.attempts)?;
        let entry = entry(call, status);
        let Attempted { sent: Sent { peer, authorization, took }, class, code } = attempted;
        let attempt = Attempt {
            address: peer,
            code,
            latency_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
            request_bytes: call.message.body.len(),
            response: None,
        };
        let next = wait.and_then(|wait| entry.at.checked_add(wait).ok());
        let entry = Entry { next, class: Some(class.as_str().into()), attempt: Some(attempt), ..entry };
        Some(Self { entry, keep, target: call.message.target.clone(), authorization })
    }

    /// How many bytes of the answer's body it wants to see.
    pub fn wanted(&self) -> usize {
        if self.keep == 0 { 0 } else { self.keep + SPARE }
    }

    /// Hands the entry on, with what the answer's body began with.
    pub fn tell(mut self, onward: &dyn Onward, begun: &[u8]) {
        if let Some(attempt) = self.entry.attempt.as_mut().filter(|_| !begun.is_empty()) {
            attempt.response = Some(shown(begun, &self.target, self.authorization.as_ref(), self.keep));
        }
        onward.log(self.entry);
    }
}

/// Tells of a call that ends without an attempt.
pub(super) fn end(onward: &dyn Onward, call: &Call, status: Status, class: Option<&'static str>) {
    if onward.logs(status, call.attempts).is_some() {
        onward.log(Entry { class: class.map(Into::into), ..entry(call, status) });
    }
}

fn entry(call: &Call, status: Status) -> Entry {
    let (message, target) = (&call.message, &call.message.target);
    let now = Timestamp::now();
    Entry {
        at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        account: target.account.clone(),
        webhook: target.webhook,
        event: message.event,
        message: message.id,
        call: Some(message.call),
        version: Some(target.version),
        url: Some(target.endpoints[message.endpoint].url.clone()),
        status,
        next: None,
        attempts: call.attempts,
        class: None,
        attempt: None,
        source: call.place.clone(),
    }
}

/// So many bytes of an answer as text. Receivers that send back what they got would put secrets into the log: those
/// of webhooks are hidden, and what the webhook's own headers say.
fn shown(begun: &[u8], target: &Target, authorization: Option<&HeaderValue>, keep: usize) -> String {
    let text = without_escapes(String::from_utf8_lossy(begun));
    let mut text = without_secrets(&text).into_owned();
    for hidden in hidden(target, authorization) {
        if text.contains(&hidden) {
            text = text.replace(&hidden, "…");
        }
    }
    if text.len() > keep {
        let end = (0..=keep).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// A text in which letters, digits and signs stand for themselves that some JSON writers escape (`\u003d`, which is `=`).
fn without_escapes(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains("\\u00") {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("\\u00");
    plain.extend(parts.next());
    for part in parts {
        let sign = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()).map(char::from);
        match sign.filter(|sign| sign.is_ascii_graphic() && !matches!(sign, '"' | '\\')) {
            Some(sign) => plain.extend([sign.encode_utf8(&mut [0; 4]), &part[2..]]),
            None => plain.extend(["\\u00", part]),
        }
    }
    plain.into()
}

/// The values of the webhook's own headers and the authorization, whose token is hidden without its scheme too. The
/// longest is first, as it may begin with another.
fn hidden(target: &Target, authorization: Option<&HeaderValue>) -> Vec<String> {
    let authorization = authorization.map(|value| (&AUTHORIZATION, value));
    let headers = target.headers.iter().map(|(name, value)| (name, value)).chain(authorization);
    let headers = headers.filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
    let values = headers.flat_map(|(name, value)| {
        let token = value.split_once(' ').filter(|_| name == AUTHORIZATION).map(|(_, token)| token.trim_start());
        [Some(value), token].into_iter().flatten()
    });
    let mut hidden: Vec<_> = values.filter(|value| value.len() >= SHORTEST).flat_map(as_written).collect();
    hidden.sort_unstable_by_key(|value| Reverse(value.len()));
    hidden
}

/// A text as an answer may have it: as it is, and in JSON, where some write a slash with a backslash.
fn as_written(text: &str) -> [String; 3] {
    let json = Value::from(text).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let slashed = json.replace('/', "\\/");
    [text.to_owned(), json, slashed]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::definition::samples::webhook;
    use crate::matching::Authorization;

    /// What is shown of an answer to a webhook with a header, and with this authentication.
    fn shown_to(header: (&'static str, &'static str), authentication: Value, answer: &str) -> String {
        let mut target = Target::of(&webhook("crm001", "CRM")).unwrap();
        target.headers = [(header.0.parse().unwrap(), header.1.parse().unwrap())].into();
        let authentication = serde_json::from_value(authentication).unwrap();
        let Authorization::Fixed(authorization) = Authorization::of(&authentication, None).unwrap() else { panic!() };
        shown(answer.as_bytes(), &target, Some(&authorization), answer.len())
    }

    #[test]
    fn a_token_is_hidden_with_its_scheme_and_without() {
        let bearer = || json!({"Bearer": {"Token": "abc123"}});
        let basic = json!({"Basic": {"Username": "Aladdin", "Password": "open sesame"}});
        let answer = "Bearer abc123, or abc123";
        assert_eq!(shown_to(("x-key", "none"), bearer(), answer), "…, or …");
        assert_eq!(shown_to(("x-key", "none"), basic, "no QWxhZGRpbjpvcGVuIHNlc2FtZQ== here"), "no … here");
        assert_eq!(shown_to(("authorization", "Bearer other9"), bearer(), "other9, abc123"), "…, …");
        assert_eq!(shown_to(("x-key", "my other9"), bearer(), "other9, my other9"), "other9, …");
    }

    #[test]
    fn values_are_hidden_as_json_writes_them() {
        let answer = r#"{"a":"k/9\"x","b":"k\/9\"x"} k/9"x"#;
        let shown = shown_to(("x-key", r#"k/9"x"#), json!({"Bearer": {"Token": "abc123"}}), answer);
        assert_eq!(shown, r#"{"a":"…","b":"…"} …"#);
    }

    #[test]
    fn what_json_need_not_escape_is_read_as_it_is_meant() {
        let shown = shown_to(("x-key", "a/b=="), json!({"Bearer": {"Token": "abc123"}}), r"a\u002Fb\u003d\u003d");
        assert_eq!(shown, "…");
        for odd in [r"\u00", r"\u000a", r"\u0022", r"\u005c", r"\u00é", r"\u00+1", r"\u0020"] {
            assert_eq!(shown_to(("x-key", "none"), json!({"Bearer": {"Token": "abc123"}}), odd), odd);
        }
    }

    #[test]
    fn what_is_too_short_for_a_secret_stays_and_the_longer_of_two_is_hidden_whole() {
        let bearer = |token: &str| json!({"Bearer": {"Token": token}});
        assert_eq!(shown_to(("x-version", "1"), bearer("abc"), "abc 1.11 Bearer abc"), "abc 1.11 …");
        assert_eq!(shown_to(("x-key", "abcd"), bearer("abcdefgh"), "abcdefgh abcd"), "… …");
    }
}
