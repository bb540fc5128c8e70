//! A secret that stands elsewhere: `${NAME}` for a variable of the environment, `${file:/path}` for a file.

/// Where a secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'t> {
    Variable(&'t str),
    File(&'t str),
}

impl<'t> Reference<'t> {
    /// None for a text that is the secret itself.
    pub fn of(text: &'t str) -> Option<Self> {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        Some(inner.strip_prefix("file:").map_or(Reference::Variable(inner), Reference::File))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_text_names_a_variable_or_a_file() {
        assert_eq!(Reference::of("${TOKEN}"), Some(Reference::Variable("TOKEN")));
        assert_eq!(Reference::of("${file:/run/secrets/token}"), Some(Reference::File("/run/secrets/token")));
        for text in ["TOKEN", "x${TOKEN}", "${TOKEN", "$TOKEN}"] {
            assert_eq!(Reference::of(text), None, "{text}");
        }
    }
}
