//! Authentication of API clients: issues tokens for client credentials and refresh tokens (RFC 6749, sections 4.4 and
//! 6), and verifies the tokens of requests.

mod guess_limiter;
mod hmac;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::token::TokenKind;
use super::error::ApiError;
use super::{Api, body};
pub use crate::api::oauth::guess_limiter::GuessLimiter;
use crate::definition::Client;
use crate::id::{AccountId, ClientId};

/// The client that sent a request, as its token identifies it.
pub(super) struct Caller {
    pub account: AccountId,
    /// The client's name, as stored in the stamps of definitions.
    pub name: String,
    pub legacy: bool,
}

/// The form that clients send to `/oauth/token`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct TokenRequest {
    /// client_credentials or refresh_token.
    #[schema(
        required,
        nullable = false,
        pattern = "^(client_credentials|refresh_token)$",
        example = "client_credentials"
    )]
    grant_type: Option<String>,
    /// The client's id, unless it is in an Authorization header of the scheme Basic.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// The client's secret, unless it is in that header.
    #[schema(nullable = false)]
    client_secret: Option<String>,
    /// The refresh token, for grant_type refresh_token.
    #[schema(nullable = false)]
    refresh_token: Option<String>,
    /// Ignored.
    #[serde(rename = "scope")]
    #[schema(nullable = false)]
    _scope: Option<String>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenResponse {
    access_token: String,
    #[schema(pattern = "^bearer$", example = "bearer")]
    token_type: &'static str,
    /// How long the token is valid, in seconds.
    #[schema(example = 86399)]
    expires_in: u64,
    refresh_token: String,
}

/// Exchange a client's credentials, or a refresh token, for a token.
#[utoipa::path(post, path = "/oauth/token", tag = "Access", operation_id = "token",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A token, and a refresh token to get the next one.", body = TokenResponse)),
    security((), ("client" = [])))]
pub(super) async fn token(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    let peer = request.extensions().get::<SocketAddr>().copied();
    let basic = basic(request.headers())?;
    let bytes = body::read(request).await?;
    let form: TokenRequest = serde_urlencoded::from_bytes(&bytes).map_err(|error| {
        ApiError::body(format!("the body is not a form (application/x-www-form-urlencoded): {error}"))
            .oauth("invalid_request")
    })?;
    if !matches!(form.grant_type.as_deref(), Some("client_credentials" | "refresh_token")) {
        let given = form.grant_type.unwrap_or_default();
        let message = format!(
            "grant_type is {given:?}: use client_credentials or refresh_token, in a form (application/x-www-form-urlencoded)"
        );
        return Err(ApiError::body(message).oauth("unsupported_grant_type"));
    }
    let (id, secret) = match (basic, &form.client_id, &form.client_secret) {
        (Some(basic), ..) => basic,
        (None, Some(id), Some(secret)) => (id.clone(), secret.clone()),
        _ => {
            let message = "client_id or client_secret is missing: send both in the form, or as Basic authorization";
            return Err(ApiError::unauthorized(message).oauth("invalid_client"));
        }
    };
    api.require_definitions()?;
    let client = api.authenticate(&id, &secret, peer)?;
    let key = api.token_key()?;
    if form.grant_type.as_deref() == Some("refresh_token") {
        let owner = form.refresh_token.as_deref().and_then(|token| token::client_of(token, TokenKind::Refresh, &key));
        if owner != Some(client.id) {
            let message = "refresh_token is missing, wrong, expired or of another client: use client_credentials";
            return Err(ApiError::body(message).oauth("invalid_grant"));
        }
    }
    let (lifetime, refresh) = (api.access.token_lifetime, api.access.refresh_lifetime);
    let answer = TokenResponse {
        access_token: token::sign(client.id, TokenKind::Access, lifetime, &key),
        token_type: "bearer",
        expires_in: lifetime.as_secs(),
        refresh_token: token::sign(client.id, TokenKind::Refresh, refresh, &key),
    };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer)).into_response())
}

/// Reads client id and secret from the Authorization header; None if there is no such header.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let decoded = || {
        let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
        let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(credentials.trim()))?;
        let text = String::from_utf8(decoded.ok()?).ok()?;
        text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
    };
    decoded().map(Some).ok_or_else(|| {
        ApiError::unauthorized("the Authorization header is not Basic with the base64 of client_id:client_secret")
            .oauth("invalid_client")
    })
}

impl Api {
    /// Returns the client with these credentials.
    fn authenticate(&self, id: &str, secret: &str, peer: Option<SocketAddr>) -> Result<Client, ApiError> {
        let id = id.parse::<ClientId>().ok();
        let known = self.store.with(|definitions| id.and_then(|id| definitions.client(id)).cloned());
        let guesser = (peer.map(|peer| peer.ip()), known.as_ref().map(|client| client.id));
        // A client with the right secret is never blocked, even if others guess from the same address.
        if let Some(client) = known.filter(|client| client.has_secret(secret)) {
            return Ok(client);
        }
        if let Some(wait) = self.guess_limiter.remaining_wait(guesser, Instant::now()) {
            let message = format!("too many wrong credentials: wait {} s", wait.as_secs() + 1);
            return Err(ApiError::too_many(message, wait + Duration::from_secs(1)).oauth("invalid_client"));
        }
        self.guess_limiter.record_failure(guesser, Instant::now());
        Err(ApiError::unauthorized("there is no client with this client_id and client_secret").oauth("invalid_client"))
    }

    /// Refuses requests until the definitions are read to their end. Before that, clients or definitions may be missing
    /// from the store.
    fn require_definitions(&self) -> Result<(), ApiError> {
        if self.store.status().caught_up {
            return Ok(());
        }
        Err(ApiError::unavailable("the definitions are still being read; try again in a moment"))
    }

    /// The key that signs tokens: the configured one, or the one that was created with the first client.
    fn token_key(&self) -> Result<Vec<u8>, ApiError> {
        if let Some(configured) = &self.access.token_key {
            return Ok(configured.bytes().to_vec());
        }
        let stored_key = self.store.with(|definitions| definitions.token_key().map(|key| key.key.key()));
        stored_key.ok_or_else(|| {
            ApiError::unavailable("there is no key to sign tokens with: create a client with `outhook clients create`")
        })
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(bearer) = bearer else {
            return Err(ApiError::unauthorized(
                "the token is missing: send Authorization: Bearer <token>, with a token from /oauth/token",
            ));
        };
        api.require_definitions()?;
        // Without a key there is no client yet, so no token is valid.
        let client = api.token_key().ok().and_then(|key| token::client_of(bearer, TokenKind::Access, &key));
        let client = api.store.with(|definitions| client.and_then(|id| definitions.client(id)).cloned());
        let Some(Client { account, name, legacy, .. }) = client else {
            return Err(ApiError::unauthorized(
                "the token is wrong or expired, or its client is revoked: get a new one from /oauth/token",
            ));
        };
        Ok(Self { account, name, legacy })
    }
}
