//! Texts that are stored like secrets and never shown: header values, passwords, tokens, keys. A change that does not
//! give such a text retains it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is stored like a secret. Its `Debug` output hides the text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HiddenText(pub String);

/// Shown in place of such a text. Sent back, it keeps the present text.
pub const HIDDEN_MARK: &str = "…";

impl HiddenText {
    pub fn is_hidden(&self) -> bool {
        self.0 == HIDDEN_MARK
    }

    /// Replaces a hidden text by the present one. True if that was done.
    pub fn restore_hidden(&mut self, present: Option<&HiddenText>) -> bool {
        match present.filter(|_| self.is_hidden()) {
            Some(present) => {
                self.clone_from(present);
                true
            }
            None => false,
        }
    }

    /// # Errors
    /// The text would be read as something else where definitions are stored, in the topic and in files; or it is
    /// hidden, and there is no present text.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.0.starts_with("sealed:") || self.0.starts_with("${") {
            return Err("its value starts with sealed: or ${, which mark sealed secrets and references");
        }
        if self.is_hidden() {
            return Err("its value is …, which keeps the present value, but there is none");
        }
        Ok(())
    }
}

impl fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN_MARK)
    }
}

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
