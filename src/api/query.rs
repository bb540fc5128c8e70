//! Query parameters of requests that filter. An unknown parameter is refused: ignoring it would drop a condition
//! silently.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The query string, deserialized into a type that lists all allowed parameters.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let read = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default());
        // serde's error says "field"; clients know it as a parameter.
        read.map(Self).map_err(|error| ApiError::query(error.to_string().replacen("field", "parameter", 1)))
    }
}

/// Items per page: the default, and the maximum.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// Reads the parameter Limit: the number of items in a page.
pub(super) fn limit(given: Option<&str>) -> Result<usize, ApiError> {
    given.map_or(Ok(DEFAULT_LIMIT), |limit| {
        let number = limit.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
        number.ok_or_else(|| ApiError::query(format!("Limit is {limit:?}: use a number from 1 to {MAX_LIMIT}")))
    })
}

/// Parses a parameter. The type's error text says what is wrong.
pub(super) fn parsed<T: FromStr<Err: Display>>(name: &str, given: Option<&str>) -> Result<Option<T>, ApiError> {
    let read = |text: &str| text.parse().map_err(|error| ApiError::query(format!("{name}: {error}")));
    given.map(read).transpose()
}

/// Parses a parameter that is a time (RFC 3339).
pub(super) fn time(name: &str, given: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let read = |text: &str| {
        text.parse().map_err(|_| {
            ApiError::query(format!("{name} is {text:?}: use a time of RFC 3339, such as 2026-11-24T15:00:00Z"))
        })
    };
    given.map(read).transpose()
}
