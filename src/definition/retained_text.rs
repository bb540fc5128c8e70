//! Secrets of a webhook that stay because a change does not give them.

/// A secret that stays because the change does not give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RetainedText {
    /// The value of this header.
    Header(String),
    /// The credential in this field of Authentication.
    Credential(&'static str),
    ClientKey,
}

impl RetainedText {
    /// Whether it goes to the token URL too.
    pub(super) fn is_for_tokens(&self) -> bool {
        !matches!(self, RetainedText::Header(_))
    }

    /// Its name in a refusal.
    pub(super) fn name(&self) -> String {
        match self {
            RetainedText::Header(name) => format!("The value of {name:?} in Headers"),
            RetainedText::Credential(field) => (*field).to_owned(),
            RetainedText::ClientKey => "Tls.ClientKey".to_owned(),
        }
    }
}
