//! Authorization of a webhook's calls, compiled: a fixed header, or the endpoint that issues tokens.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;

use crate::definition::{Authentication, BadUrl, CompiledTls, Endpoint};

/// The Authorization header of a webhook's calls.
#[derive(Debug)]
pub enum Authorization {
    /// The same in each request.
    Fixed(HeaderValue),
    Fetched(Box<TokenSource>),
}

/// A token endpoint and the request for a token (RFC 6749, 4.4).
pub struct TokenSource {
    pub endpoint: Endpoint,
    /// The client's credentials, as the Authorization header of the request for a token (RFC 6749, 2.3.1).
    pub client_authorization: HeaderValue,
    /// The body of that request.
    pub request_body: Bytes,
}

impl Authorization {
    /// Compiles a webhook's authentication. `tls` is the webhook's own; token requests use it too.
    ///
    /// # Errors
    /// The token URL can't be called.
    pub fn compile(authentication: &Authentication, tls: Option<Arc<CompiledTls>>) -> Result<Self, BadUrl> {
        Ok(match authentication {
            Authentication::Basic { username, password } => Self::Fixed(basic(username, &password.0)),
            Authentication::Bearer { token } => Self::Fixed(sensitive(&format!("Bearer {}", token.0))),
            Authentication::OAuth2 { token_url, client_id, client_secret, scope } => {
                let scope = scope.as_deref().filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
                let form: Vec<_> = [("grant_type", "client_credentials")].into_iter().chain(scope).collect();
                Self::Fetched(Box::new(TokenSource {
                    endpoint: Endpoint::parse(token_url)?.with_tls(tls),
                    client_authorization: basic(&form_encode(client_id), &form_encode(&client_secret.0)),
                    request_body: serde_urlencoded::to_string(form).unwrap_or_default().into(),
                }))
            }
        })
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("url", &self.endpoint.url).finish_non_exhaustive()
    }
}

fn basic(name: &str, password: &str) -> HeaderValue {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
}

/// The form-encoded text.
fn form_encode(text: &str) -> String {
    serde_urlencoded::to_string([("", text)]).unwrap_or_default().split_off(1)
}

fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(authentication: serde_json::Value) -> Authorization {
        Authorization::compile(&serde_json::from_value(authentication).unwrap(), None).unwrap()
    }

    #[test]
    fn fixed_authorization_headers_are_built_once() {
        let basic = of(json!({"Basic": {"Username": "Aladdin", "Password": "open sesame"}}));
        // RFC 7617, section 2.
        assert!(matches!(&basic, Authorization::Fixed(value) if value == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        let bearer = of(json!({"Bearer": {"Token": "abc"}}));
        assert!(matches!(&bearer, Authorization::Fixed(value) if value == "Bearer abc"));
        assert!(!format!("{basic:?}{bearer:?}").contains("abc"), "Debug hides the secrets");
    }

    #[test]
    fn token_request_is_a_form_with_the_client_credentials() {
        let url = "https://login.example/token";
        let credentials = json!({"TokenUrl": url, "ClientId": "a:b", "ClientSecret": "c d%", "Scope": "x y"});
        let Authorization::Fetched(source) = of(json!({"OAuth2": credentials})) else { panic!("a header") };
        assert_eq!(&source.request_body[..], b"grant_type=client_credentials&scope=x+y");
        assert_eq!(source.client_authorization, format!("Basic {}", STANDARD.encode("a%3Ab:c+d%25")));
        assert!(!format!("{source:?}").contains("c d"));
    }
}
