//! Problems of the configuration: message, location and fix.

use std::error::Error;
use std::fmt;

use super::value_error::ValueError;

/// One problem of the configuration. Its texts contain no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// `outhook.toml:3:9`, or the name of an environment variable. Empty if the key is not set.
    pub location: String,
    /// The key, such as `kafka.brokers` or `sources[1].topics`.
    pub key: String,
    /// The problem, as a sentence that names the key and its value.
    pub message: String,
    /// The fix.
    pub help: Option<String>,
}

impl ConfigProblem {
    /// A problem of a key, with a fix. The document adds the location.
    pub fn new(key: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { location: String::new(), key: key.into(), message: message.into(), help: Some(help.into()) }
    }

    /// A problem of a key, whose message is the key and what is wrong with it.
    pub fn of_key(key: impl Into<String>, wrong: impl fmt::Display, help: impl Into<String>) -> Self {
        let key = key.into();
        Self { message: format!("{key} {wrong}"), location: String::new(), key, help: Some(help.into()) }
    }

    /// A problem found by the check of a part: a sentence that starts with the key and contains the fix.
    pub fn of_part(invalid: impl Error) -> Self {
        let message = invalid.to_string();
        let key = message.split_whitespace().next().unwrap_or_default().to_owned();
        Self { location: String::new(), key, message, help: None }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.location.is_empty() {
            write!(f, "{}: ", self.location)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems, one per line.
pub(super) fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}

/// Message and help for a value that can't be read.
pub(super) struct ProblemText {
    pub message: String,
    pub help: Option<String>,
}

/// Kinds of texts: a part of the error of a type that refuses a text, the name of the kind, and how to write it.
const FORMATS: [(&str, &str, &str); 6] = [
    ("in days", "a duration", "write it with its unit: 12h, 7d or 30d"),
    ("\"friendly\"", "a duration", "write it with its unit: 500ms, 10s, 1m 30s or 2h"),
    ("duration string", "a duration", "write it with its unit: 500ms, 10s, 1m 30s or 2h"),
    ("socket address", "an address with its port", "write it as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"),
    ("IP address", "a network", "write it as 10.1.0.0/16 or fd00::/8"),
    ("network address", "a network", "write it as 10.1.0.0/16 or fd00::/8"),
];

/// Kinds of other values: a part of the kind that a type expects, the name of the kind, and how to write it.
const VALUE_KINDS: [(&str, &str, &str); 3] = [
    ("a string", "a text", "put it in quotes"),
    ("a boolean", "a yes or no", "write true or false"),
    ("a sequence", "a list", "write it as a list, such as [\"…\", \"…\"]"),
];

/// serde's names of whole numbers.
const INTEGER_TYPES: [&str; 6] = ["i32", "u16", "u32", "u64", "usize", "a nonzero u32"];

impl ProblemText {
    /// `given` is the value to show, or None if it may contain a secret.
    pub fn of(key: &str, given: Option<&str>, why: &ValueError) -> Self {
        match why {
            ValueError::Section => Self::not_a_section(key),
            ValueError::Kind(wanted) if wanted == "a map" => Self::not_a_section(key),
            ValueError::Kind(wanted) if INTEGER_TYPES.contains(&wanted.as_str()) => {
                let least = u8::from(wanted.contains("nonzero"));
                let help = format!("write it as a whole number, not less than {least}");
                Self { message: wrong_kind_text(key, given, "a whole number"), help: Some(help) }
            }
            ValueError::Kind(_) if key == "sources" => Self {
                message: wrong_kind_text(key, given, "a list"),
                help: Some("write [[sources]], in two brackets, above each source".to_owned()),
            },
            ValueError::Kind(wanted) => {
                match FORMATS.iter().chain(&VALUE_KINDS).find(|(sign, ..)| wanted.contains(sign)) {
                    Some((_, kind, help)) => {
                        Self { message: wrong_kind_text(key, given, kind), help: Some((*help).to_owned()) }
                    }
                    None => Self { message: wrong_kind_text(key, given, wanted), help: None },
                }
            }
            ValueError::Other(reason) => match FORMATS.iter().find(|(sign, ..)| reason.contains(sign)) {
                Some((_, kind, help)) => {
                    Self { message: wrong_kind_text(key, given, kind), help: Some((*help).to_owned()) }
                }
                None => Self { message: with_reason(key, given, reason), help: None },
            },
            ValueError::UnknownKey { given, known } => {
                let message = format!("{key} is not a key that Outhook knows");
                Self { message, help: Some(suggestion(given, known)) }
            }
            ValueError::UnknownWord { given, known } => {
                Self { message: format!("{key} can't be {given:?}"), help: Some(suggestion(given, known)) }
            }
            ValueError::MissingKey(name) => {
                let help = format!("add {name} = …; docs/configuration.md lists its values");
                Self { message: format!("{key} needs the key {name}"), help: Some(help) }
            }
        }
    }
}

impl ProblemText {
    /// The message does not show the value, because it may contain a secret of the section.
    fn not_a_section(key: &str) -> Self {
        let section = if key.starts_with("sources") { "[sources]" } else { key };
        let help = format!("write it as [{section}], with a line name = value for each setting");
        Self { message: format!("{key} is not a section of settings"), help: Some(help) }
    }
}

fn wrong_kind_text(key: &str, given: Option<&str>, kind: &str) -> String {
    match given {
        Some(given) => format!("{key} is {given}, but must be {kind}"),
        None => format!("{key} must be {kind}"),
    }
}

/// Adds the value unless the reason already contains it.
fn with_reason(key: &str, given: Option<&str>, reason: &str) -> String {
    match given {
        Some(given) if !reason.contains(given) => format!("{key} is {given}: {reason}"),
        _ => format!("{key}: {reason}"),
    }
}

/// Suggests the most similar known name, or lists all names if none is similar.
fn suggestion(given: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, name)) => format!("did you mean {name}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}
