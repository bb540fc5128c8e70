//! Where the API, metrics and health are served: the `[listen]` and `[api]` sections.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

/// Where the API, metrics and health are served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address and port; port 0 takes a free one. It speaks plain HTTP, and nothing is asked of who reads metrics, so keep it inside, or behind a proxy with TLS. Default "127.0.0.1:8080".
    pub address: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, 8080).into() }
    }
}

/// How clients of the API are known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// How long a token is good. Default 86399s.
    #[serde(with = "duration::required")]
    pub token_lifetime: Duration,
    /// How long a refresh token is good. Default 8760h (365 days).
    #[serde(with = "duration::required")]
    pub refresh_lifetime: Duration,
    /// What signs tokens: at least 32 characters, the same on all instances. Default: a key that was made with the first client and is kept with the definitions.
    pub token_key: Option<TokenSecret>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(86_399),
            refresh_lifetime: Duration::from_secs(365 * 86_400),
            token_key: None,
        }
    }
}

/// A key that signs tokens. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenSecret(String);

/// A text that is too short for a key. It does not show the text.
#[derive(Debug, thiserror::Error)]
#[error("it has {0} characters, and a key has at least 32; `openssl rand -hex 32` makes one")]
pub struct TooShort(usize);

impl TokenSecret {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<String> for TokenSecret {
    type Error = TooShort;

    fn try_from(text: String) -> Result<Self, TooShort> {
        if text.len() < 32 { Err(TooShort(text.len())) } else { Ok(Self(text)) }
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
