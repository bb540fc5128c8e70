//! Secrets in definition files: a text, or a reference to where the secret is stored, `${NAME}` for an environment
//! variable or `${file:/path}` for a file.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// A secret, or a [`SecretReference`] to one. Its `Debug` output hides the text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}

/// Where a secret is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretReference<'t> {
    Variable(&'t str),
    File(&'t str),
}

/// Why a referenced secret can't be read. The texts do not show it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("environment variable {0} is not set, or is not UTF-8")]
    Variable(String),
    #[error("the file {path} can't be read: {reason}")]
    File { path: String, reason: io::Error },
    /// A text that does not look like a path may be the secret itself, set by mistake.
    #[error("the file that it names can't be read: {0}; is it a path that starts with / or .?")]
    HiddenFile(#[source] io::Error),
}

impl<'t> SecretReference<'t> {
    /// Parses a reference. None if the text is the secret itself.
    pub fn of(text: &'t str) -> Option<Self> {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        Some(inner.strip_prefix("file:").map_or(SecretReference::Variable(inner), SecretReference::File))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_to_a_variable_or_file_is_the_whole_text() {
        assert_eq!(SecretReference::of("${TOKEN}"), Some(SecretReference::Variable("TOKEN")));
        assert_eq!(
            SecretReference::of("${file:/run/secrets/token}"),
            Some(SecretReference::File("/run/secrets/token"))
        );
        for text in ["TOKEN", "x${TOKEN}", "${TOKEN", "$TOKEN}"] {
            assert_eq!(SecretReference::of(text), None, "{text}");
        }
    }
}
