//! Describes what is wrong with a definition file, in the terms of its author. Quotes only names of keys, because a
//! value may be a secret.

use std::fmt::Write as _;

use serde_path_to_error::{Path, Segment};
use serde_saphyr::{Error, Location};

/// Why a text is not a definition file: the location, the problem, and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFile(String);

/// Kinds of values: a part of the parser's expectation, and the name to show.
const VALUE_KINDS: [(&str, &str); 7] = [
    ("string", "a text, in quotes if it reads as something else"),
    ("bool", "true or false"),
    ("sequence", "a list"),
    ("map", "a section with keys"),
    ("struct", "a section with keys"),
    ("enum", "a section with keys"),
    ("scalar", "a single value"),
];

/// Error for a file without keys.
pub(super) const EMPTY_FILE: &str = "the file is empty: it must have Webhooks or Tables";

/// The parser's names for whole numbers.
const INTEGER_TYPES: [&str; 3] = ["u32", "u64", "i64"];

impl InvalidFile {
    pub(super) fn new(error: &Error, path: &Path) -> Self {
        if matches!(error, Error::Eof { .. }) && path.iter().next().is_none() {
            return Self(format!("line 1, column 1: {EMPTY_FILE}"));
        }
        let location = error.location().filter(|location| *location != Location::UNKNOWN);
        let (line, column) = location.map_or((1, 1), |location| (location.line(), location.column()));
        Self(format!("line {line}, column {column}: {}", describe_error(error, &path_text(path))))
    }
}

fn describe_error(error: &Error, path: &str) -> String {
    let whole = if path.is_empty() { "the file" } else { path };
    match error {
        Error::WithSnippet { error, .. } => describe_error(error, path),
        Error::AliasError { error, .. } => describe_error(error, path),
        Error::NullIntoString { .. } => format!("{whole} is null, but must be a text, or omitted if it is optional"),
        Error::InvalidBooleanStrict { .. } => format!("{whole} must be true or false"),
        Error::InvalidScalar { ty: expected, .. } | Error::Unexpected { expected, .. } => {
            wrong_kind_text(whole, expected)
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            wrong_kind_text(whole, expected)
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("{field} is not a known key here; known keys: {}", expected.join(", "))
        }
        Error::SerdeUnknownVariant { expected, .. } => format!("{whole} must be one of {}", expected.join(", ")),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => wrong_kind_text(whole, "enum"),
        Error::SerdeMissingField { field, .. } => format!("{whole} needs the key {field}"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{whole} has the key {key} twice: keep one of them")
        }
        Error::DuplicateMappingKey { .. } => format!("{whole} has a key twice: keep one of them"),
        Error::Message { msg, .. } if path.is_empty() => msg.clone(),
        Error::Message { msg, .. } => format!("{path}: {msg}"),
        // The text is not YAML.
        other => format!("{whole} can't be read: {}", without_location(&other.to_string())),
    }
}

fn wrong_kind_text(whole: &str, expected: &str) -> String {
    if INTEGER_TYPES.iter().any(|number| expected.contains(number)) {
        return format!("{whole} must be a whole number, not less than 0");
    }
    let kind = VALUE_KINDS.iter().find(|(sign, _)| expected.contains(sign)).map_or(expected, |(_, kind)| kind);
    format!("{whole} must be {kind}")
}

/// Removes the location from the start of the parser's text, because some texts repeat it.
fn without_location(text: &str) -> &str {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    match text.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => text,
    }
}

/// The path as text, such as `Webhooks[0].Events[1].ObjectName`. An entry with a location holds its content in the
/// field `value`, which is not shown.
fn path_text(path: &Path) -> String {
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
