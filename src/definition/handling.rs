//! How a webhook wants its calls made, where it differs from the configuration: ours, beside what Caspio knows.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::rules::Refusal;

/// How a webhook wants its calls made. What is not said is as the configuration has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handling {
    /// How long an attempt may take, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// The wait before each retry, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Vec<u32>>,
    /// Headers that each request has beside our own, by name. They may hold credentials, so they are sealed like
    /// secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderText>,
    /// Whether the default payload leaves the secret out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omit_secret: bool,
}

/// A header's value. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeaderText(pub String);

/// What stands for a header's value where it is not shown; given back, it means the value that is there.
pub const HIDDEN: &str = "…";

/// The longest time that an attempt may take, in seconds.
pub const MAX_TIMEOUT: u32 = 120;
/// The most retries.
pub const MAX_RETRIES: usize = 50;
/// How long all waits may take together, in seconds: 30 days, as long as a dead letter would be kept.
pub const MAX_WAITS: u32 = 30 * 86_400;
/// The most headers.
pub const MAX_HEADERS: usize = 20;
/// The longest header name, in bytes.
pub const MAX_HEADER_NAME: usize = 100;
/// The longest header value, in bytes.
pub const MAX_HEADER: usize = 4096;

/// Headers that are ours, or of the connection.
const RESERVED: [&str; 12] = [
    "expect",
    "host",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "user-agent",
];
/// Prefixes of headers that are ours; receivers' libraries prefer the last one's to the first one's.
const RESERVED_PREFIXES: [&str; 4] = ["webhook-", "outhook-", "proxy-", "svix-"];

impl Handling {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the values that are there in place of those that are hidden.
    pub fn reveal(&mut self, before: Option<&Handling>) {
        for (name, value) in &mut self.headers {
            if value.0 == HIDDEN
                && let Some(there) = before.and_then(|before| before.headers.get(name))
            {
                value.clone_from(there);
            }
        }
    }

    /// The same with hidden values.
    pub fn hidden(&self) -> Self {
        let headers = self.headers.keys().map(|name| (name.clone(), HeaderText(HIDDEN.to_owned()))).collect();
        Self { headers, ..self.clone() }
    }

    /// # Errors
    /// The first rule that it breaks.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let handling = |field, value: String, expected| Err(Refusal::Handling { field, value, expected });
        if let Some(timeout) = self.timeout.filter(|timeout| !(1..=MAX_TIMEOUT).contains(timeout)) {
            return handling("Timeout", timeout.to_string(), "it is seconds, from 1 to 120");
        }
        if let Some(retry) = &self.retry {
            if retry.len() > MAX_RETRIES {
                return handling("RetrySchedule", format!("{} waits long", retry.len()), "at most 50 are allowed");
            }
            let sum = retry.iter().fold(0_u32, |sum, wait| sum.saturating_add(*wait));
            if sum > MAX_WAITS {
                return handling(
                    "RetrySchedule",
                    format!("{sum} in sum"),
                    "its waits are seconds, at most 2592000 (30 days) in sum",
                );
            }
        }
        if self.headers.len() > MAX_HEADERS {
            return handling("Headers", format!("{} headers long", self.headers.len()), "at most 20 are allowed");
        }
        let mut names = HashSet::new();
        if let Some(name) = self.headers.keys().find(|name| !names.insert(name.to_ascii_lowercase())) {
            return Err(Refusal::Twice { field: "Headers", value: name.clone() });
        }
        self.headers.iter().try_for_each(|(name, value)| header(name, value))
    }
}

fn header(name: &str, HeaderText(value): &HeaderText) -> Result<(), Refusal> {
    let refused = |expected| Err(Refusal::Header { name: name.to_owned(), expected });
    let lower = name.to_ascii_lowercase();
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return refused("it is no header's name");
    }
    if RESERVED.contains(&&*lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return refused("it is set by Outhook or belongs to the connection");
    }
    if name.len() > MAX_HEADER_NAME {
        return refused("a header's name has at most 100 characters");
    }
    // What stands for something else where definitions are kept, in the topic and in files.
    if value.starts_with("sealed:") || value.starts_with("${") {
        return refused("its value starts with sealed: or ${, which are read as something else");
    }
    if value == HIDDEN {
        return refused("its value is …, which stands for one that is there, and there is none");
    }
    if value.len() > MAX_HEADER || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return refused("its value must be visible ASCII, at most 4096 bytes");
    }
    Ok(())
}

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(headers: &[(&str, &str)]) -> Handling {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), HeaderText((*value).to_owned())));
        Handling { headers: headers.collect(), ..Handling::default() }
    }

    #[test]
    fn what_can_not_be_sent_is_refused_by_name_and_never_shows_a_value() {
        assert_eq!(headers(&[("X-Api-Key", "s3cret"), ("Authorization", "Bearer x")]).check(), Ok(()));
        for (name, value) in [
            ("Webhook-Id", "s3cret"),
            ("HOST", "s3cret"),
            ("svix-id", "s3cret"),
            ("a b", "s3cret"),
            ("", "s3cret"),
            ("x", "s3cret\r\nx: y"),
            ("x", "s3crét"),
            ("x", "sealed:v1:s3cret"),
            ("x", "${s3cret}"),
            ("x", HIDDEN),
        ] {
            let error = headers(&[(name, value)]).check().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")) && !error.contains("s3cr"), "{error}");
        }
        for bad in [
            Handling { timeout: Some(0), ..Handling::default() },
            Handling { timeout: Some(121), ..Handling::default() },
            Handling { retry: Some(vec![1; 51]), ..Handling::default() },
            Handling { retry: Some(vec![2_592_000, 1]), ..Handling::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", headers(&[("x", "s3cret")])).contains("s3cret"));
    }

    #[test]
    fn a_hidden_value_is_the_one_that_is_there() {
        let before = headers(&[("x", "one"), ("y", "two")]);
        let mut after = headers(&[("x", HIDDEN), ("y", "three"), ("z", HIDDEN)]);
        after.reveal(Some(&before));
        assert_eq!(after, headers(&[("x", "one"), ("y", "three"), ("z", HIDDEN)]));
        assert!(after.check().is_err());
        assert_eq!(before.hidden(), headers(&[("x", HIDDEN), ("y", HIDDEN)]));
    }
}
