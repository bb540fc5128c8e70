//! Why a type refuses a value of the configuration.

/// serde's error about a value.
#[derive(Debug)]
pub(super) enum ValueError {
    /// The expected kind of value, in serde's words.
    Kind(String),
    /// A section is expected.
    Section,
    UnknownKey {
        given: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        given: String,
        known: &'static [&'static str],
    },
    MissingKey(&'static str),
    /// A sentence of the type that refused the value.
    Other(String),
}
