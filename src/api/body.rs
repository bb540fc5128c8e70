//! Request bodies: JSON, also with raw line breaks and tabs inside strings, as the seed page writes them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::str::Utf8Error;
use std::time::Duration;

use axum::body::Body as Arriving;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::error::ApiError;
use crate::json::without_byte_order_mark;

/// Max size of a body, in bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// Max bytes of an oversized body that are read and discarded.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;
/// Max pause between two chunks of a body that is discarded.
const MAX_CHUNK_PAUSE: Duration = Duration::from_millis(500);
/// Max time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is not UTF-8, from byte {} on", .0.valid_up_to())]
    NotUtf8(#[from] Utf8Error),
    #[error("the body is not JSON: {reason} at line {line}, column {column}")]
    NotJson { reason: String, line: usize, column: usize },
    #[error("the body must be a JSON object, in braces")]
    NotAnObject,
    #[error("there is no field {given:?}; did you mean {meant}?")]
    Misspelt { given: String, meant: String },
    #[error("{path}: {}", json_terms(.source))]
    Field { path: String, source: serde_json::Error },
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::body(error.to_string())
    }
}

/// A body that is a JSON object, deserialized into a type.
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + Serialize + Default, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Ok(Self(parse(&read(request).await?)?))
    }
}

/// Like [`JsonBody`], but an empty body becomes the type's default.
pub(super) struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Serialize + Default, S: Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = read(request).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        Ok(Self(parse(&body)?))
    }
}

/// The raw text of a top-level value. A parsed [`Value`] would change numbers that a float can't represent.
pub(super) fn raw(body: &[u8], key: &str) -> Option<Box<RawValue>> {
    let text = text(body).ok()?;
    let mut fields: HashMap<String, Box<RawValue>> = serde_json::from_str(&escape(text).text).ok()?;
    fields.remove(key).filter(|value| value.get() != "null")
}

/// Reads a whole body.
pub(super) async fn read(request: Request) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = format!("the body is larger than {MAX_BODY} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", message)
    };
    let mut body = request.into_body();
    // A Content-Length announces the size before the body arrives.
    if body.size_hint().lower() > MAX_BODY as u64 {
        discard(body);
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(&mut body, MAX_BODY).collect()).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(body);
            Err(too_large())
        }
        Ok(Err(_)) => Err(ApiError::body("the body ended early, or its chunks can't be read")),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", message))
        }
    }
}

/// Reads and discards the rest of a body while the answer is sent. Without this, a client that writes its whole
/// request before it reads would get a connection reset instead of the answer (RFC 9112, 9.6).
fn discard(body: Arriving) {
    let mut rest = Limited::new(body, MAX_DISCARDED_BYTES);
    let discarding = async move { while let Ok(Some(Ok(_))) = timeout(MAX_CHUNK_PAUSE, rest.frame()).await {} };
    tokio::spawn(timeout(BODY_TIMEOUT, discarding));
}

fn text(body: &[u8]) -> Result<&str, Utf8Error> {
    std::str::from_utf8(body).map(without_byte_order_mark)
}

/// Reads an object. An error names the position of invalid JSON, or the wrong field. Unknown keys are ignored, because
/// clients may send answers back. A key that resembles a known one is refused: ignoring it would hide a typo.
pub(super) fn parse<T: DeserializeOwned + Serialize + Default>(body: &[u8]) -> Result<T, BodyError> {
    let text = text(body)?;
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(strict) => {
            let escaped = escape(text);
            serde_json::from_str(&escaped.text).map_err(|error| {
                let (line, column) = match &escaped.text {
                    Cow::Borrowed(_) => (strict.line(), strict.column()),
                    Cow::Owned(_) => escaped.position(text, &error),
                };
                let reason = error.to_string().split(" at line ").next().unwrap_or_default().to_owned();
                BodyError::NotJson { reason, line, column }
            })?
        }
    };
    let Value::Object(fields) = &value else {
        return Err(BodyError::NotAnObject);
    };
    check_misspelt_keys::<T>(fields.keys())?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        BodyError::Field { path, source: error.into_inner() }
    })
}

/// Replaces the Rust terms of a serde error by JSON terms.
fn json_terms(error: &serde_json::Error) -> String {
    let words = [
        ("invalid type: sequence", "invalid type: list"),
        ("expected a sequence", "expected a list"),
        ("invalid type: map", "invalid type: object"),
        ("expected a map", "expected an object"),
        ("expected i64", "expected a whole number"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected a boolean", "expected true or false"),
    ];
    words.iter().fold(error.to_string(), |error, (rust, json)| error.replace(rust, json))
}

/// Max edit distance at which an unknown key counts as a misspelt known one.
const MAX_TYPO_DISTANCE: usize = 2;

fn check_misspelt_keys<'k, T: Serialize + Default>(keys: impl Iterator<Item = &'k String>) -> Result<(), BodyError> {
    // The request types skip no key when they are serialized, so this has all known keys.
    let Ok(Value::Object(known)) = serde_json::to_value(T::default()) else { return Ok(()) };
    for key in keys.filter(|key| !known.contains_key(*key)) {
        let candidates = known.keys().filter(|known| known.len().abs_diff(key.len()) <= MAX_TYPO_DISTANCE);
        let distance = |known: &String| strsim::levenshtein(&known.to_lowercase(), &key.to_lowercase());
        let nearest = candidates.map(|known| (distance(known), known)).min();
        if let Some((_, meant)) = nearest.filter(|(distance, _)| *distance <= MAX_TYPO_DISTANCE) {
            return Err(BodyError::Misspelt { given: key.clone(), meant: meant.clone() });
        }
    }
    Ok(())
}

/// A text in which control characters inside JSON strings are escaped.
struct EscapedText<'t> {
    text: Cow<'t, str>,
    /// Positions in the escaped text where bytes were added, and their numbers.
    added_bytes: Vec<(usize, usize)>,
}

fn escape(text: &str) -> EscapedText<'_> {
    let mut added = Vec::new();
    let mut out = String::new();
    let (mut in_string, mut after_backslash) = (false, false);
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !after_backslash => in_string = !in_string,
            0..0x20 if in_string => {
                out.push_str(&text[copied..at]);
                let escape = match byte {
                    b'\n' => Cow::Borrowed("\\n"),
                    b'\r' => "\\r".into(),
                    b'\t' => "\\t".into(),
                    other => format!("\\u{other:04x}").into(),
                };
                out.push_str(&escape);
                added.push((out.len(), escape.len() - 1));
                copied = at + 1;
            }
            _ => {}
        }
        after_backslash = in_string && byte == b'\\' && !after_backslash;
    }
    if added.is_empty() {
        return EscapedText { text: Cow::Borrowed(text), added_bytes: added };
    }
    out.push_str(&text[copied..]);
    EscapedText { text: Cow::Owned(out), added_bytes: added }
}

impl EscapedText<'_> {
    /// The line and column of an error in the text that was sent.
    fn position(&self, sent: &str, error: &serde_json::Error) -> (usize, usize) {
        let line_start = self.text.split_inclusive('\n').take(error.line() - 1).map(str::len).sum::<usize>();
        let at = line_start + error.column().saturating_sub(1);
        let added: usize =
            self.added_bytes.iter().filter(|(position, _)| *position <= at).map(|(_, bytes)| bytes).sum();
        let before = &sent.as_bytes()[..(at - added.min(at)).min(sent.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        (line, column)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Shape {
        text: Option<String>,
        list: Option<Vec<String>>,
    }

    #[test]
    fn raw_line_breaks_and_tabs_in_strings_are_kept() {
        let read: Shape = parse(b"{\n \"text\":\"\n{\t'a':'\\\"b\\\\'\r\n}\x01\"\n}").unwrap();
        assert_eq!(read.text.as_deref(), Some("\n{\t'a':'\"b\\'\r\n}\u{1}"));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let body = "\u{feff}{\"text\":\"a\"}".as_bytes();
        assert_eq!(parse::<Shape>(body).unwrap().text.as_deref(), Some("a"));
        assert_eq!(raw(body, "text").unwrap().get(), "\"a\"");
    }

    #[test]
    fn json_errors_name_the_position_in_the_request_body() {
        let cases = [
            ("", "EOF while parsing a value at line 1, column 0"),
            ("{'text': 1}", "key must be a string at line 1, column 2"),
            ("{\"text\": \"a\nb\",\n \"list\": ]}", "expected value at line 3, column 10"),
            ("{\"text\": \"a\nb\" x}", "at line 2, column 4"),
            ("[1]", "must be a JSON object"),
            ("{\"list\": [1]}", "list[0]: invalid type: integer `1`, expected a string"),
            ("{\"Test\": 1}", "there is no field \"Test\"; did you mean text?"),
            ("{\"text\": {}}", "text: invalid type: object, expected a string"),
        ];
        for (body, expected) in cases {
            let error = parse::<Shape>(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body:?}\n{error}");
        }
        assert!(parse::<Shape>(b"{\"text\": \"\xff\"}").unwrap_err().to_string().contains("from byte 10"));
        let deep = "[".repeat(100_000);
        assert!(parse::<Shape>(format!("{{\"list\": {deep}").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn request_bodies_never_panic_and_agree_with_serde_json(body in ".{0,60}|[{}\\[\\]\":,\\\\a\n\t\r0]{0,40}") {
            let ours = parse::<Shape>(body.as_bytes());
            if let Ok(theirs) = serde_json::from_str::<Shape>(&body) {
                prop_assert_eq!(ours.unwrap(), theirs);
            }
        }

        #[test]
        fn strings_accept_any_raw_character_except_quotes_and_backslashes(text in "[^\"\\\\]{0,60}") {
            let read: Shape = parse(format!("{{\"text\": \"{text}\"}}").as_bytes()).unwrap();
            prop_assert_eq!(read.text, Some(text));
        }
    }
}
