//! A webhook's OAuth2 token, fetched with its client credentials. The token is kept until shortly before it expires.
//! One attempt fetches it for all calls that wait for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::dial::{AlpnOffer, Dialer};
use super::failure::{AttemptFailure, Limit, TokenError};
use crate::rules::{Target, TokenSource};

const CONTENT_TYPE_FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const ACCEPT_JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Max size of a token response, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Lifetime of a token whose response does not state one.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// Max time that a token is kept, whatever its response says.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A token is not used in the last tenth of its lifetime, or the last 30 s if that is shorter: a request takes a
/// while.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
/// Pause before the token endpoint is asked again after a failed fetch, or after a token was refused that was just
/// fetched.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A token of a webhook, as an Authorization header.
pub(in crate::deliver) struct Token {
    pub authorization: HeaderValue,
    fetched_at: Instant,
    usable_until: Instant,
    /// The endpoint has accepted it. If it is refused later, it was revoked.
    was_accepted: AtomicBool,
}

/// The tokens of all webhooks, by the address of their targets. An entry does not keep its target, but no other target
/// can get the address.
#[derive(Default)]
pub(in crate::deliver) struct TokenCaches(parking_lot::Mutex<HashMap<usize, CacheOfTarget>>);

type CacheOfTarget = (Weak<Target>, Arc<TokenCache>);

impl TokenCaches {
    /// Returns the cache of a webhook's definition.
    pub fn of(&self, target: &Arc<Target>) -> Arc<TokenCache> {
        let new = || (Arc::downgrade(target), Arc::default());
        self.0.lock().entry(Arc::as_ptr(target).addr()).or_insert_with(new).1.clone()
    }

    /// Drops the tokens of definitions that are not used any more.
    pub fn drop_unused(&self) {
        self.0.lock().retain(|_, (target, _)| target.strong_count() > 0);
    }
}

/// Result of the last fetch, kept between calls. The lock is held during a fetch, so that other calls wait for its
/// result instead of fetching too.
#[derive(Default)]
pub(in crate::deliver) struct TokenCache(Mutex<LastFetch>);

#[derive(Default)]
enum LastFetch {
    #[default]
    Nothing,
    Token(Arc<Token>),
    Failed(Instant, TokenError),
}

impl Token {
    /// Returns whether the endpoint refused the token. If not, marks the token as accepted.
    pub fn is_refused<B>(&self, answer: &Response<B>) -> bool {
        let refused = answer.status() == StatusCode::UNAUTHORIZED;
        if !refused {
            self.was_accepted.store(true, Ordering::Relaxed);
        }
        refused
    }

    /// Returns whether a new token could help. It can't if this one was just fetched and never accepted.
    pub fn is_worth_renewing(&self) -> bool {
        self.was_accepted.load(Ordering::Relaxed) || self.fetched_at.elapsed() >= RETRY_DELAY
    }
}

impl TokenCache {
    /// Returns the webhook's token: the cached one, unless it has expired or is `refused`; else a new one.
    ///
    /// # Errors
    /// [`AttemptFailure::NoToken`].
    pub async fn token(
        &self,
        source: &TokenSource,
        dialer: &Dialer,
        attempt: Limit,
        refused: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, AttemptFailure> {
        let lookup = async {
            let mut last = self.0.lock().await;
            match &*last {
                LastFetch::Token(token)
                    if token.usable_until > Instant::now() && !refused.is_some_and(|it| Arc::ptr_eq(it, token)) =>
                {
                    return Ok(token.clone());
                }
                LastFetch::Failed(at, why) if at.elapsed() < RETRY_DELAY => return Err(why.clone()),
                _ => {}
            }
            let fetched = fetch(source, dialer).await.map(Arc::new);
            *last = match &fetched {
                Ok(token) => LastFetch::Token(token.clone()),
                Err(why) => LastFetch::Failed(Instant::now(), why.clone()),
            };
            fetched
        };
        let late = |_| Err(token_error(source, None, format!("took longer than {:?}", attempt.allowed)));
        Ok(timeout_at(attempt.deadline, lookup).await.unwrap_or_else(late)?)
    }
}

async fn fetch(source: &TokenSource, dialer: &Dialer) -> Result<Token, TokenError> {
    let requested_at = Instant::now();
    let (mut connection, answer) = match send_token_request(source, dialer, AlpnOffer::Both).await? {
        (_, Err(AttemptFailure::Http1Required)) => send_token_request(source, dialer, AlpnOffer::Http1).await?,
        (_, Err(AttemptFailure::Unprocessed(_))) => send_token_request(source, dialer, AlpnOffer::Both).await?,
        exchange => exchange,
    };
    let answer = answer.map_err(|failure| request_error(source, &failure))?;
    let status = answer.status();
    let body = connection.drive_while(Limited::new(answer.into_body(), MAX_RESPONSE_BYTES).collect()).await;
    let body = body
        .map_err(|_| token_error(source, None, "broke off, or sent a response that is too large".to_owned()))?
        .to_bytes();
    if !status.is_success() {
        return Err(token_error(source, Some(status.as_u16()), format!("answered {status}{}", error_word(&body))));
    }
    parse_token_response(&body, requested_at)
        .map_err(|reason| token_error(source, None, format!("sent an invalid token response: {reason}")))
}

/// Sends a request on a new connection.
async fn send_token_request(
    source: &TokenSource,
    dialer: &Dialer,
    offer: AlpnOffer,
) -> Result<(Connection, Result<Response<Incoming>, AttemptFailure>), TokenError> {
    let deadline = Instant::now() + dialer.connect_timeout;
    let connector = dialer.connector(&source.endpoint);
    let mut connection = timeout_at(deadline, dialer.dial(&source.endpoint, &connector, offer, deadline))
        .await
        .map_err(|_| token_error(source, None, format!("could not be reached within {:?}", dialer.connect_timeout)))?
        .map_err(|failure| request_error(source, &failure))?;
    let answer = connection.send_request(request(source, &connection)).await;
    Ok((connection, answer))
}

fn request_error(source: &TokenSource, failure: &AttemptFailure) -> TokenError {
    let error = token_error(source, failure.status(), format!("failed: {failure}"));
    TokenError { public_reason: Some(format!("failed: {}", failure.public()).into()), ..error }
}

fn request(source: &TokenSource, connection: &Connection) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(source.request_body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = source.endpoint.uri.clone();
    if let Connection::Http1(_) = connection {
        crate::deliver::transport::route::to_origin_form(&source.endpoint, &mut request);
    }
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, source.client_authorization.clone());
    headers.insert(CONTENT_TYPE, CONTENT_TYPE_FORM);
    headers.insert(ACCEPT, ACCEPT_JSON);
    request
}

/// Parses a token response (RFC 6749, 5.1). Its errors do not show the token.
fn parse_token_response(body: &[u8], requested_at: Instant) -> Result<Token, &'static str> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        #[serde(default)]
        token_type: Option<String>,
        #[serde(default)]
        expires_in: Value,
    }
    let granted: Granted = serde_json::from_slice(body).map_err(|_| "it is not a JSON object with an access_token")?;
    if granted.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("its token_type is not bearer");
    }
    let unsendable = "its access_token has characters that a header can't contain";
    let mut authorization =
        HeaderValue::from_str(&format!("Bearer {}", granted.access_token)).map_err(|_| unsendable)?;
    authorization.set_sensitive(true);
    let lifetime = lifetime(&granted.expires_in);
    let usable_until = requested_at + lifetime - EXPIRY_MARGIN.min(lifetime / 10);
    Ok(Token { authorization, fetched_at: requested_at, usable_until, was_accepted: AtomicBool::new(false) })
}

/// Parses the seconds of `expires_in`, which some servers write as a string.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.parse().ok());
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    lifetime.unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME)
}

/// The error code of a response without a token (RFC 6749, 5.2), if it is one word. A longer text may contain
/// anything.
fn error_word(body: &[u8]) -> String {
    let word = serde_json::from_slice::<Value>(body).ok().and_then(|body| Some(body["error"].as_str()?.to_owned()));
    let is_word =
        |word: &String| word.len() <= 40 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    word.filter(is_word).map_or(String::new(), |word| format!(": {word}"))
}

fn token_error(source: &TokenSource, status: Option<u16>, reason: String) -> TokenError {
    TokenError { from: source.endpoint.origin().into(), status, reason: reason.into(), public_reason: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_kept_until_shortly_before_its_expiry() {
        let now = Instant::now();
        let good_for = |expires_in: &str| {
            let body = format!("{{\"access_token\":\"abc\",\"token_type\":\"Bearer\",\"expires_in\":{expires_in}}}");
            parse_token_response(body.as_bytes(), now).unwrap().usable_until - now
        };
        let seconds = Duration::from_secs;
        assert_eq!(good_for("3600"), seconds(3570));
        assert_eq!(good_for("\"3600\""), seconds(3570));
        assert_eq!(good_for("10"), seconds(9));
        for odd in ["null", "-1", "\"soon\"", "{}", "1e300"] {
            assert_eq!(good_for(odd), seconds(270), "{odd}");
        }
        assert_eq!(good_for("1e9"), seconds(24 * 3600 - 30));
    }

    #[test]
    fn invalid_token_responses_are_rejected_without_showing_them() {
        for body in [
            "",
            "[]",
            "{\"access_token\":7}",
            "{\"access_token\":\"s3cret\\n\"}",
            "{\"access_token\":\"s3cret\",\"token_type\":\"mac\"}",
        ] {
            let error = parse_token_response(body.as_bytes(), Instant::now()).err().unwrap();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert_eq!(error_word(b"{\"error\":\"invalid_client\"}"), ": invalid_client");
        assert_eq!(error_word(b"{\"error\":\"the secret s3cret is wrong\"}"), "");
    }
}
