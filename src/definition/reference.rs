//! References to secrets that are stored elsewhere: `${NAME}` for an environment variable, `${file:/path}` for a
//! file.

/// Where a secret is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretReference<'t> {
    Variable(&'t str),
    File(&'t str),
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
    fn a_whole_text_names_a_variable_or_a_file() {
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
