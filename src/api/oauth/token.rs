//! Signed tokens (JWT, RFC 7519, with HMAC-SHA-256). Every instance can verify tokens of every other instance.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::hmac;
use crate::id::ClientId;
use crate::time::since_1970;

/// The purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TokenKind {
    Access,
    Refresh,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: ClientId,
    #[serde(rename = "use")]
    kind: TokenKind,
    iat: u64,
    exp: u64,
}

/// Signs a token.
pub(super) fn sign(client: ClientId, kind: TokenKind, lifetime: Duration, key: &[u8]) -> String {
    hmac::install();
    let now = since_1970().as_secs();
    let claims = Claims { sub: client, kind, iat: now, exp: now + lifetime.as_secs() };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key))
        .expect("claims are numbers and strings, and any key can sign")
}

/// Returns the client of a token if the token is signed with the key, of the given kind, and not expired.
pub(super) fn client_of(token: &str, kind: TokenKind, key: &[u8]) -> Option<ClientId> {
    hmac::install();
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = 0;
    let read = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(key), &validation).ok()?;
    (read.claims.kind == kind).then_some(read.claims.sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[7; 32];
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn only_tokens_of_this_key_and_kind_are_valid() {
        let client = ClientId::from_random([1; 16]);
        let token = sign(client, TokenKind::Access, HOUR, KEY);
        assert_eq!(client_of(&token, TokenKind::Access, KEY), Some(client));
        assert_eq!(client_of(&token, TokenKind::Refresh, KEY), None);
        assert_eq!(client_of(&token, TokenKind::Access, &[8; 32]), None);
        for broken in ["", "a.b.c", &token[..token.len() - 2], &format!("{token}x")] {
            assert_eq!(client_of(broken, TokenKind::Access, KEY), None, "{broken}");
        }
        // {"alg":"none"} with the claims of a valid token.
        let claims = token.split('.').nth(1).unwrap();
        assert_eq!(client_of(&format!("eyJhbGciOiJub25lIn0.{claims}."), TokenKind::Access, KEY), None);
    }

    /// A token whose expiry is not a number must be refused, not treated as having no expiry (CVE-2026-25537).
    #[test]
    fn token_with_an_invalid_expiry_is_rejected() {
        hmac::install();
        let key = jsonwebtoken::EncodingKey::from_secret(KEY);
        let client = ClientId::from_random([1; 16]);
        let signed = |claims: serde_json::Value| jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        let good = signed(serde_json::json!({"sub": client, "use": "access", "iat": 1, "exp": 9_999_999_999_u64}));
        assert_eq!(client_of(&good, TokenKind::Access, KEY), Some(client));
        for exp in [serde_json::json!("9999999999"), serde_json::json!(null), serde_json::json!(-1)] {
            let bad = signed(serde_json::json!({"sub": client, "use": "access", "iat": 1, "exp": exp}));
            assert_eq!(client_of(&bad, TokenKind::Access, KEY), None, "{exp}");
        }
    }

    #[test]
    fn a_token_expires() {
        let token = sign(ClientId::from_random([1; 16]), TokenKind::Access, Duration::ZERO, KEY);
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(client_of(&token, TokenKind::Access, KEY), None);
    }
}
