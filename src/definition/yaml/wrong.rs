//! What is wrong with a file of definitions, in the words of who writes it. Nothing of it is quoted but names of keys,
//! since a value may be a secret.

use std::fmt::Write as _;

use serde_path_to_error::{Path, Segment};
use serde_saphyr::{Error, Location};

/// A text that is no such file: where, what, and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadFile(String);

/// Kinds of values: a part of what the reader expected, and what it is called.
const KINDS: [(&str, &str); 7] = [
    ("string", "a text, in quotes if it reads as something else"),
    ("bool", "true or false"),
    ("sequence", "a list"),
    ("map", "a section with keys"),
    ("struct", "a section with keys"),
    ("enum", "a section with keys"),
    ("scalar", "a single value"),
];

/// Of a file without a key.
pub(super) const EMPTY: &str = "the file is empty: it must have Webhooks or Tables";

/// What whole numbers are called by the reader.
const NUMBERS: [&str; 3] = ["u32", "u64", "i64"];

impl BadFile {
    pub(super) fn new(error: &Error, path: &Path) -> Self {
        if matches!(error, Error::Eof { .. }) && path.iter().next().is_none() {
            return Self(format!("line 1, column 1: {EMPTY}"));
        }
        let place = error.location().filter(|place| *place != Location::UNKNOWN);
        let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
        Self(format!("line {line}, column {column}: {}", told(error, &shown(path))))
    }
}

fn told(error: &Error, path: &str) -> String {
    let whole = if path.is_empty() { "the file" } else { path };
    match error {
        Error::WithSnippet { error, .. } => told(error, path),
        Error::AliasError { error, .. } => told(error, path),
        Error::NullIntoString { .. } => format!("{whole} is null, but must be a text, or left out where it may be"),
        Error::InvalidBooleanStrict { .. } => format!("{whole} must be true or false"),
        Error::InvalidScalar { ty: expected, .. } | Error::Unexpected { expected, .. } => of_kind(whole, expected),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            of_kind(whole, expected)
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("{field} is no key that is known here; known are: {}", expected.join(", "))
        }
        Error::SerdeUnknownVariant { expected, .. } => format!("{whole} must be one of {}", expected.join(", ")),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => of_kind(whole, "enum"),
        Error::SerdeMissingField { field, .. } => format!("{whole} needs the key {field}"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{whole} has the key {key} twice: keep one of them")
        }
        Error::DuplicateMappingKey { .. } => format!("{whole} has a key twice: keep one of them"),
        Error::Message { msg, .. } if path.is_empty() => msg.clone(),
        Error::Message { msg, .. } => format!("{path}: {msg}"),
        // What is no YAML.
        other => format!("{whole} can't be read: {}", without_place(&other.to_string())),
    }
}

fn of_kind(whole: &str, expected: &str) -> String {
    if NUMBERS.iter().any(|number| expected.contains(number)) {
        return format!("{whole} must be a whole number, not less than 0");
    }
    let kind = KINDS.iter().find(|(sign, _)| expected.contains(sign)).map_or(expected, |(_, kind)| kind);
    format!("{whole} must be {kind}")
}

/// The reader's own texts may begin with the place too.
fn without_place(text: &str) -> &str {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    match text.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => text,
    }
}

/// `Webhooks[0].Events[1].ObjectName`. An entry that keeps its place has what it is in a field of its own.
fn shown(path: &Path) -> String {
    let mut shown = String::new();
    let mut is_entry = false;
    for segment in path {
        match segment {
            Segment::Map { key } if is_entry && key == "value" => {}
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                let dot = if shown.is_empty() { "" } else { "." };
                // Writing to a String does not fail.
                let _ = write!(shown, "{dot}{name}");
            }
            Segment::Seq { index } => {
                let _ = write!(shown, "[{index}]");
            }
            Segment::Unknown => {}
        }
        is_entry = matches!(segment, Segment::Seq { .. });
    }
    shown
}
