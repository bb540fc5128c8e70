//! Query parameters where they choose what is answered: one that is not known would be left out silently.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The query as a type that knows all its parameters.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let read = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default());
        // What is a field for serde is a parameter for whoever sends it.
        read.map(Self).map_err(|error| ApiError::query(error.to_string().replacen("field", "parameter", 1)))
    }
}
