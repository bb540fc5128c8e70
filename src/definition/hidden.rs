//! Texts that are kept like secrets and never shown: headers' values, passwords, tokens, keys.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is kept like a secret. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HiddenText(pub String);

/// What stands for such a text where it is not shown; given back, it means the text that is there.
pub const HIDDEN: &str = "…";

impl HiddenText {
    pub fn is_hidden(&self) -> bool {
        self.0 == HIDDEN
    }

    /// Puts the text that is there in its place, if it is hidden. True if that was done.
    pub fn reveal(&mut self, there: Option<&HiddenText>) -> bool {
        match there.filter(|_| self.is_hidden()) {
            Some(there) => {
                self.clone_from(there);
                true
            }
            None => false,
        }
    }

    /// # Errors
    /// What it must not be: it would be read as something else where definitions are kept, in the topic and in files.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.0.starts_with("sealed:") || self.0.starts_with("${") {
            return Err("its value starts with sealed: or ${, which are read as something else");
        }
        if self.is_hidden() {
            return Err("its value is …, which stands for one that is there, and there is none");
        }
        Ok(())
    }
}

impl fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}
