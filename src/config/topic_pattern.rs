//! A regular expression for topics that all engines involved read in the same way.

use std::fmt;

use regex::Regex;
use serde::Deserialize;

/// A pattern for whole topic names.
///
/// librdkafka matches subscriptions as POSIX extended expressions, and a broker under KIP-848 with RE2. Outhook finds
/// the source of a topic with Rust's `regex`. Only expressions that all three read alike are accepted.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct TopicPattern {
    text: String,
    regex: Regex,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTopicPattern {
    #[error("{pattern:?} is not a regular expression: {reason}")]
    Syntax { pattern: String, reason: String },
    #[error(
        "{pattern:?} has {found:?}, which regular expression engines read differently: use only literals, classes like [0-9], groups, | and the repetitions * + ? {{n,m}}"
    )]
    Dialect { pattern: String, found: String },
}

impl TopicPattern {
    /// Whether it matches a whole topic name.
    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }

    /// The pattern in the form that Kafka's client subscribes with.
    pub fn subscription(&self) -> String {
        format!("^({})$", self.text)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = BadTopicPattern;

    fn try_from(pattern: String) -> Result<Self, BadTopicPattern> {
        let text = pattern.strip_prefix('^').unwrap_or(&pattern);
        let text = match text.strip_suffix('$') {
            Some(inner) if !inner.ends_with('\\') => inner,
            _ => text,
        };
        if let Some(found) = find_ambiguous_syntax(text) {
            return Err(BadTopicPattern::Dialect { found, pattern });
        }
        match Regex::new(&format!("^({text})$")) {
            Ok(whole) => Ok(Self { text: text.to_owned(), regex: whole }),
            Err(error) => Err(BadTopicPattern::Syntax { reason: last_line(&error.to_string()), pattern }),
        }
    }
}

/// Finds the first piece that engines read differently: `(?…)`, lazy or possessive repetitions, `\d` and similar
/// escapes, and in a class everything except characters and ranges.
fn find_ambiguous_syntax(text: &str) -> Option<String> {
    let mut rest = text;
    let mut in_class = false;
    while let Some(first) = rest.chars().next() {
        let starts = |pieces: &[&str]| pieces.iter().any(|piece| rest.starts_with(piece));
        let second = rest[first.len_utf8()..].chars().next();
        let differs = match first {
            // In a class these are literals for POSIX. In Rust's regex they escape, nest and combine.
            '\\' | '[' | '&' | '-' | '~' if in_class => starts(&["\\", "[", "&&", "--", "~~"]),
            // In POSIX a bracket at the start of a class is a member of the class.
            '[' => starts(&["[]", "[^]"]),
            '\\' => second.is_some_and(|escaped| escaped.is_ascii_alphanumeric()),
            '(' => starts(&["(?"]),
            '*' | '+' | '?' | '}' if !in_class => matches!(second, Some('?' | '+' | '*')),
            _ => false,
        };
        if differs {
            return Some([Some(first), second].into_iter().flatten().collect());
        }
        match first {
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        let escaped = if first == '\\' { second.map_or(0, char::len_utf8) } else { 0 };
        rest = &rest[first.len_utf8() + escaped..];
    }
    None
}

/// The last line of an error of the regex crate, which has the reason. The lines before it draw the pattern.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<TopicPattern, BadTopicPattern> {
        TopicPattern::try_from(text.to_owned())
    }

    #[test]
    fn pattern_matches_the_whole_name_with_or_without_anchors() {
        for text in [r"cdc\.(app|crm)\..*", r"^cdc\.(app|crm)\..*$"] {
            let pattern = pattern(text).unwrap();
            assert!(pattern.matches("cdc.app.users"));
            assert!(!pattern.matches("cdcXapp.users"), "an escaped dot is a dot");
            assert!(!pattern.matches("old-cdc.app.users"), "matched whole");
            assert_eq!(pattern.subscription(), r"^(cdc\.(app|crm)\..*)$");
        }
    }

    #[test]
    fn a_class_holds_characters_and_ranges() {
        assert!(pattern(r"cdc\.[a-z0-9_-]+\.[^.]+").unwrap().matches("cdc.my-app.users"));
    }

    #[test]
    fn syntax_that_regex_engines_read_differently_is_rejected() {
        for text in [
            r"cdc\d",
            "(?i)cdc",
            "cdc.*?",
            "a++",
            r"\bcdc",
            r"app[a\-z]+",
            "cdc[a&&b]",
            "[[:alpha:]]",
            "a[]b]",
            "[^]a]",
        ] {
            assert!(matches!(pattern(text), Err(BadTopicPattern::Dialect { .. })), "{text}");
        }
        let error = pattern("cdc.(").unwrap_err().to_string();
        assert_eq!(error, r#""cdc.(" is not a regular expression: unclosed group"#);
    }
}
