//! The HTTP listener and the tokens of API clients: the `[listen]` and `[api]` sections.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

/// The HTTP listener of the API, metrics and health.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port of the listener. Port 0 selects a free port. The listener serves plain HTTP, and metrics need
    /// no authentication, so keep it in a private network or behind a proxy with TLS. Default "127.0.0.1:8080".
    pub address: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, 8080).into() }
    }
}

/// Tokens of API clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Lifetime of an access token. Default 86399s.
    #[serde(with = "duration::required")]
    pub token_lifetime: Duration,
    /// Lifetime of a refresh token. Default 8760h (365 days).
    #[serde(with = "duration::required")]
    pub refresh_lifetime: Duration,
    /// Key that signs tokens: at least 32 characters, the same on all instances. Default: a key that is created with
    /// the first client and stored with the definitions.
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

/// A key that signs tokens. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenSecret(String);

/// The text is too short for a key. The error does not show the text.
#[derive(Debug, thiserror::Error)]
#[error("it has {0} characters, but a key needs at least 32; create one with `openssl rand -hex 32`")]
pub struct TokenSecretTooShort(usize);

impl TokenSecret {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<String> for TokenSecret {
    type Error = TokenSecretTooShort;

    fn try_from(text: String) -> Result<Self, TokenSecretTooShort> {
        if text.len() < 32 { Err(TokenSecretTooShort(text.len())) } else { Ok(Self(text)) }
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
