//! A webhook's secret: the text that receivers hold, and the key bytes that sign.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// `whsec_` and the base64 of 24 to 64 key bytes, as every Standard Webhooks library accepts it. Its `Debug` output
/// hides the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is whsec_ followed by the base64 of 24 to 64 bytes")]
pub struct BadSecret;

impl Secret {
    /// A secret of 32 random bytes.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(format!("whsec_{}", STANDARD.encode(random)))
    }

    /// The text that receivers hold and the default payload sends.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key bytes that sign.
    pub fn key(&self) -> Vec<u8> {
        STANDARD.decode(&self.0["whsec_".len()..]).expect("checked when it was made")
    }
}

impl TryFrom<String> for Secret {
    type Error = BadSecret;

    fn try_from(text: String) -> Result<Self, BadSecret> {
        let key = text.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok()).ok_or(BadSecret)?;
        if (24..=64).contains(&key.len()) { Ok(Self(text)) } else { Err(BadSecret) }
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> String {
        secret.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}
