//! What is wrong with the configuration, where, and how to mend it.

use std::fmt;

/// One thing that is wrong. Its texts hold no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `outhook.toml:3:9`, or the name of an environment variable; empty when nothing was given for the key.
    pub place: String,
    /// The key, such as `kafka.brokers` or `sources[1].topics`.
    pub key: String,
    /// What is wrong, as a sentence that names the key and its value.
    pub message: String,
    /// The mend.
    pub help: Option<String>,
}

impl Problem {
    /// A problem with a key; its place is added by whoever knows the document.
    pub(super) fn with(key: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place: String::new(), key: key.into(), message: message.into(), help: Some(help.into()) }
    }

    /// What a part's own check says: a sentence with the mend in it, behind its key's name.
    pub(super) fn of_part(message: String) -> Self {
        let key = message.split_whitespace().next().unwrap_or_default().to_owned();
        Self { place: String::new(), key, message, help: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems, one a line.
pub(super) fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// The message and help for an error of serde, whose texts name what was given and what is known.
pub(super) fn explain(key: &str, message: &str) -> (String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (given, known) = match quoted.split_first() {
        Some((given, known)) => (*given, known),
        None => ("", [].as_slice()),
    };
    if key == "kafka" || key == "kafka.properties" {
        // What was given may hold a password.
        let help = format!("write it as [{key}], with a line name = \"value\" for each setting");
        (format!("{key} is no section of settings"), Some(help))
    } else if message.starts_with("unknown field") {
        (format!("{key} is not a key that Outhook knows"), Some(suggestion(given, known)))
    } else if message.starts_with("unknown variant") {
        (format!("{key} can't be {given:?}"), Some(suggestion(given, known)))
    } else if message.starts_with("missing field") {
        (format!("{key} needs the key {given}"), None)
    } else if message.contains("\"friendly\"") {
        // The name of jiff's format for durations, which tells people nothing.
        (format!("{key} is no duration"), Some("write it as 500ms, 10s, 1m 30s or 2h".to_owned()))
    } else if let Some((found, "i32" | "u16" | "u32" | "u64" | "usize")) = message.split_once(", expected ") {
        // What is expected is the name of a type of Rust's.
        (format!("{key}: {found}"), Some("write it as a whole number, not less than 0".to_owned()))
    } else {
        (format!("{key}: {message}"), None)
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
