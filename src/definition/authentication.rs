//! How endpoints authenticate calls in addition to the signature: the settings of a webhook, and their rules.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rules::{MAX_URL, Violation};
use super::{BadUrl, Endpoint};
use crate::definition::hidden_text::HiddenText;

/// Sets the Authorization header of each request: one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Authentication {
    /// User name and password (RFC 7617).
    #[serde(rename_all = "PascalCase")]
    Basic {
        /// Without a colon.
        #[schema(max_length = 255)]
        username: String,
        /// Shown as …, which keeps the present one when it is sent back.
        #[schema(value_type = String, max_length = 4096)]
        password: HiddenText,
    },
    /// A fixed token (RFC 6750).
    #[serde(rename_all = "PascalCase")]
    Bearer {
        /// Shown as …, which keeps the present one when it is sent back.
        #[schema(value_type = String, min_length = 1, max_length = 4096)]
        token: HiddenText,
    },
    /// Tokens that are fetched with client credentials (RFC 6749, 4.4).
    #[serde(rename_all = "PascalCase")]
    OAuth2 {
        /// The URL that tokens are fetched from: https, like an outgoing URL.
        #[schema(max_length = 2048, example = "https://login.example.com/oauth/token")]
        token_url: String,
        #[schema(min_length = 1, max_length = 255)]
        client_id: String,
        /// Shown as …, which keeps the present one when it is sent back.
        #[schema(value_type = String, min_length = 1, max_length = 4096)]
        client_secret: HiddenText,
        /// Scope of the requested token. Omitted: no scope is requested.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(max_length = 1024)]
        scope: Option<String>,
    },
}

/// Max length of a user name or client id, in bytes.
pub const MAX_ID: usize = 255;
/// Max length of a password, token or client secret, in bytes.
pub const MAX_CREDENTIAL: usize = 4096;
/// Name of the field with the URL that tokens are fetched from.
pub(super) const TOKEN_URL_FIELD: &str = "Authentication.OAuth2.TokenUrl";
/// Max length of a scope, in bytes.
pub const MAX_SCOPE: usize = 1024;

impl Authentication {
    /// The part that is stored like a secret, with the name of its field.
    pub fn secret_mut(&mut self) -> (&'static str, &mut HiddenText) {
        match self {
            Self::Basic { password, .. } => ("Authentication.Basic.Password", password),
            Self::Bearer { token } => ("Authentication.Bearer.Token", token),
            Self::OAuth2 { client_secret, .. } => ("Authentication.OAuth2.ClientSecret", client_secret),
        }
    }

    /// The part that is stored like a secret.
    pub fn secret(&self) -> &HiddenText {
        match self {
            Self::Basic { password: secret, .. }
            | Self::Bearer { token: secret }
            | Self::OAuth2 { client_secret: secret, .. } => secret,
        }
    }

    /// Replaces a hidden secret by the present one. A secret of another kind stays hidden. True if it was replaced.
    pub fn restore_hidden(&mut self, before: Option<&Authentication>) -> bool {
        let same_kind = before.filter(|before| std::mem::discriminant(*before) == std::mem::discriminant(self));
        self.secret_mut().1.restore_hidden(same_kind.map(Authentication::secret))
    }

    /// The URL that tokens are fetched from, if they are fetched.
    pub fn token_url(&self) -> Option<&str> {
        match self {
            Self::OAuth2 { token_url, .. } => Some(token_url),
            Self::Basic { .. } | Self::Bearer { .. } => None,
        }
    }

    /// Checks the settings. `allow_http` is whether the token URL may be http.
    ///
    /// # Errors
    /// The first rule that the settings break.
    pub(super) fn check(&self, allow_http: bool) -> Result<(), Violation> {
        match self {
            Self::Basic { username, password } => {
                let is_valid_id = username.len() <= MAX_ID && !username.contains(':') && !has_controls(username);
                let expected = "it must have at most 255 bytes, without a colon and control characters";
                require(is_valid_id, "Authentication.Basic.Username", expected)?;
                let sendable = !has_controls(&password.0);
                credential("Authentication.Basic.Password", password, sendable, "it must not have control characters")
            }
            Self::Bearer { token } => {
                let sendable = !token.0.is_empty() && token.0.bytes().all(|byte| byte.is_ascii_graphic());
                credential("Authentication.Bearer.Token", token, sendable, "it must be visible ASCII without spaces")
            }
            Self::OAuth2 { token_url, client_id, client_secret, scope } => {
                self::token_url(token_url, allow_http)?;
                let is_valid_id = (1..=MAX_ID).contains(&client_id.len()) && is_oauth_text(client_id);
                require(is_valid_id, "Authentication.OAuth2.ClientId", "it must be 1 to 255 characters of ASCII")?;
                let sendable = !client_secret.0.is_empty() && is_oauth_text(&client_secret.0);
                credential(
                    "Authentication.OAuth2.ClientSecret",
                    client_secret,
                    sendable,
                    "it must be ASCII, and not empty",
                )?;
                let is_valid = scope.as_ref().is_none_or(|scope| scope.len() <= MAX_SCOPE && is_oauth_text(scope));
                require(is_valid, "Authentication.OAuth2.Scope", "it must be at most 1024 characters of ASCII")
            }
        }
    }
}

fn token_url(url: &str, allow_http: bool) -> Result<(), Violation> {
    require(url.len() <= MAX_URL, TOKEN_URL_FIELD, "it must have at most 2048 bytes")?;
    let endpoint = Endpoint::parse(url)
        .map_err(|bad: BadUrl| Violation::InvalidPart { field: TOKEN_URL_FIELD, reason: bad.to_string() })?;
    let expected = "it is http, so the client's secret can be read in transit: use https, or allow http in the \
                    configuration";
    require(endpoint.https || allow_http, TOKEN_URL_FIELD, expected)
}

/// Checks a secret. A refusal does not show it.
fn credential(
    field: &'static str,
    secret: &HiddenText,
    sendable: bool,
    expected: &'static str,
) -> Result<(), Violation> {
    secret.check().map_err(|reason| Violation::InvalidPart { field, reason: reason.to_owned() })?;
    require(secret.0.len() <= MAX_CREDENTIAL, field, "it must have at most 4096 bytes")?;
    require(sendable, field, expected)
}

fn require(is_valid: bool, field: &'static str, expected: &str) -> Result<(), Violation> {
    if is_valid { Ok(()) } else { Err(Violation::InvalidPart { field, reason: expected.to_owned() }) }
}

/// Whether RFC 6749 allows the text as a client's id and secret.
fn is_oauth_text(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Authentication {
        serde_json::from_value(json).unwrap()
    }

    fn oauth(token_url: &str, id: &str, secret: &str) -> Authentication {
        read(json!({"OAuth2": {"TokenUrl": token_url, "ClientId": id, "ClientSecret": secret}}))
    }

    #[test]
    fn invalid_credentials_are_rejected_by_field_and_secrets_never_shown() {
        let basic = |name: &str, password: &str| read(json!({"Basic": {"Username": name, "Password": password}}));
        let bearer = |token: &str| read(json!({"Bearer": {"Token": token}}));
        let url = "https://a.example/token";
        for good in [basic("ann", "pässword: x"), basic("", ""), bearer("s3cret"), oauth(url, "id", "s3cret")] {
            assert_eq!(good.check(false), Ok(()), "{good:?}");
            assert!(!format!("{good:?}").contains("s3cret"));
        }
        let long = "s3cret".repeat(1000);
        for (bad, field) in [
            (basic("a:b", "s3cret"), "Basic.Username"),
            (basic("a", "s3cret\n"), "Basic.Password"),
            (basic("a", "…"), "Basic.Password"),
            (basic("a", "sealed:v1:s3cret"), "Basic.Password"),
            (bearer(""), "Bearer.Token"),
            (bearer("s3cret s3cret"), "Bearer.Token"),
            (bearer(&long), "Bearer.Token"),
            (bearer("${s3cret}"), "Bearer.Token"),
            (oauth("http://a.example/", "id", "s3cret"), "OAuth2.TokenUrl"),
            (oauth("https://u:s3cret@a.example/", "id", "s3cret"), "OAuth2.TokenUrl"),
            (oauth("nonsense", "id", "s3cret"), "OAuth2.TokenUrl"),
            (oauth(url, "", "s3cret"), "OAuth2.ClientId"),
            (oauth(url, "id", ""), "OAuth2.ClientSecret"),
            (oauth(url, "id", "s3crét"), "OAuth2.ClientSecret"),
        ] {
            let error = bad.check(false).unwrap_err().to_string();
            assert!(error.contains(field) && !error.contains("s3cr"), "{error}");
        }
        assert_eq!(oauth("http://a.example/", "id", "x").check(true), Ok(()));
    }

    #[test]
    fn hidden_secret_keeps_the_stored_one_of_the_same_kind() {
        let url = "https://a.example/token";
        let there = oauth(url, "id", "s3cret");
        let mut again = oauth("https://a.example/other", "id", "…");
        again.restore_hidden(Some(&there));
        assert_eq!(again.secret(), there.secret());
        let mut other = read(json!({"Bearer": {"Token": "…"}}));
        other.restore_hidden(Some(&there));
        assert!(other.secret().is_hidden() && other.check(false).is_err());
    }

    #[test]
    fn authentication_has_exactly_one_known_kind() {
        for none in
            [json!({}), json!({"Digest": {}}), json!({"Bearer": {}}), json!({"Bearer": {"Token": "a"}, "Basic": {}})]
        {
            assert!(serde_json::from_value::<Authentication>(none.clone()).is_err(), "{none}");
        }
    }
}
