//! What is wrong with the configuration, where, and how to mend it.

use std::fmt;

use super::reader::ValueError;

/// One thing that is wrong. Its texts hold no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// `outhook.toml:3:9`, or the name of an environment variable; empty when nothing was given for the key.
    pub place: String,
    /// The key, such as `kafka.brokers` or `sources[1].topics`.
    pub key: String,
    /// What is wrong, as a sentence that names the key and its value.
    pub message: String,
    /// The mend.
    pub help: Option<String>,
}

impl ConfigProblem {
    /// A problem with a key; its place is added by whoever knows the document.
    pub fn with(key: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place: String::new(), key: key.into(), message: message.into(), help: Some(help.into()) }
    }

    /// What a part's own check says: a sentence with the mend in it, behind its key's name.
    pub fn of_part(message: String) -> Self {
        let key = message.split_whitespace().next().unwrap_or_default().to_owned();
        Self { place: String::new(), key, message, help: None }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems, one a line.
pub(super) fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}

/// What people are told of a value that can't be read.
pub(super) struct ProblemText {
    pub message: String,
    pub help: Option<String>,
}

/// Kinds of texts: a part of what a type says of one that it does not take, what it is called, and how it is written.
const FORMATS: [(&str, &str, &str); 6] = [
    ("in days", "a duration", "write it with its unit: 12h, 7d or 30d"),
    ("\"friendly\"", "a duration", "write it with its unit: 500ms, 10s, 1m 30s or 2h"),
    ("duration string", "a duration", "write it with its unit: 500ms, 10s, 1m 30s or 2h"),
    ("socket address", "an address with its port", "write it as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"),
    ("IP address", "a network", "write it as 10.1.0.0/16 or fd00::/8"),
    ("network address", "a network", "write it as 10.1.0.0/16 or fd00::/8"),
];

/// The same of other values, by what a type wants.
const KINDS: [(&str, &str, &str); 3] = [
    ("a string", "a text", "put it in quotes"),
    ("a boolean", "a yes or no", "write true or false"),
    ("a sequence", "a list", "write it as a list, such as [\"…\", \"…\"]"),
];

/// What serde calls whole numbers.
const NUMBERS: [&str; 6] = ["i32", "u16", "u32", "u64", "usize", "a nonzero u32"];

impl ProblemText {
    /// `given` is the value as it may be shown, None if it may hold a secret.
    pub fn of(key: &str, given: Option<&str>, why: &ValueError) -> Self {
        match why {
            ValueError::Section => Self::of_no_section(key),
            ValueError::Kind(wanted) if wanted == "a map" => Self::of_no_section(key),
            ValueError::Kind(wanted) if NUMBERS.contains(&wanted.as_str()) => {
                let least = u8::from(wanted.contains("nonzero"));
                let help = format!("write it as a whole number, not less than {least}");
                Self { message: of_kind(key, given, "a whole number"), help: Some(help) }
            }
            ValueError::Kind(_) if key == "sources" => Self {
                message: of_kind(key, given, "a list"),
                help: Some("write [[sources]], in two brackets, above each source".to_owned()),
            },
            ValueError::Kind(wanted) => match FORMATS.iter().chain(&KINDS).find(|(sign, ..)| wanted.contains(sign)) {
                Some((_, kind, help)) => Self { message: of_kind(key, given, kind), help: Some((*help).to_owned()) },
                None => Self { message: of_kind(key, given, wanted), help: None },
            },
            ValueError::Other(reason) => match FORMATS.iter().find(|(sign, ..)| reason.contains(sign)) {
                Some((_, kind, help)) => Self { message: of_kind(key, given, kind), help: Some((*help).to_owned()) },
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
                let help = format!("add {name} = …; docs/configuration.md says what it can be");
                Self { message: format!("{key} needs the key {name}"), help: Some(help) }
            }
        }
    }
}

impl ProblemText {
    /// What was given may hold a secret of the section.
    fn of_no_section(key: &str) -> Self {
        let section = if key.starts_with("sources") { "[sources]" } else { key };
        let help = format!("write it as [{section}], with a line name = value for each setting");
        Self { message: format!("{key} is no section of settings"), help: Some(help) }
    }
}

fn of_kind(key: &str, given: Option<&str>, kind: &str) -> String {
    match given {
        Some(given) => format!("{key} is {given}, but must be {kind}"),
        None => format!("{key} must be {kind}"),
    }
}

/// Many a reason has the value in it.
fn with_reason(key: &str, given: Option<&str>, reason: &str) -> String {
    match given {
        Some(given) if !reason.contains(given) => format!("{key} is {given}: {reason}"),
        _ => format!("{key}: {reason}"),
    }
}

/// The nearest known name if one is near, else all of them.
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
