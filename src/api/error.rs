//! Errors of the API in one shape, and the frame around every answer: the request's id and its time limit.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::definition::edit::EditError;
use crate::kafka::topic_reader;
use crate::store::WriteError;

/// How long an answer may take.
const TIME: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-caspio-request-id");

/// Why a request is not done. It becomes an answer where the request's id and path are known.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// What RFC 6749 calls it, at the token endpoint.
    pub oauth: Option<&'static str>,
    pub retry_after: Option<Duration>,
}

/// The body of every answer that is an error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Error)]
pub(super) struct ErrorBody {
    /// The kind of error: IncorrectBodyParameter, IncorrectQueryParameter, Unauthorized, ObjectNotFound and so on.
    #[schema(example = "IncorrectBodyParameter")]
    code: &'static str,
    /// Which field, which value, and what to do instead.
    message: String,
    /// The request's path.
    resource: String,
    /// The same as in the header X-Caspio-Request-ID.
    #[schema(format = "uuid")]
    request_id: String,
    /// Only of /oauth/token: the error as RFC 6749 names it.
    #[serde(rename = "error", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    oauth: Option<&'static str>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), oauth: None, retry_after: None }
    }

    pub fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "IncorrectBodyParameter", message)
    }

    pub fn query(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "IncorrectQueryParameter", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ObjectNotFound", message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    pub fn too_many(message: impl Into<String>, retry_after: Duration) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message);
        Self { retry_after: Some(Duration::from_secs(1)), ..error }
    }

    /// The same for whoever reads OAuth's errors.
    pub fn oauth(self, error: &'static str) -> Self {
        Self { oauth: Some(error), ..self }
    }

    /// What the framework has refused by itself, in its own words.
    fn of_framework(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::METHOD_NOT_ALLOWED => ("MethodNotAllowed", "this path does not know the method; see Allow"),
            StatusCode::NOT_FOUND => ("ObjectNotFound", "nothing is at this path; /openapi.json names what there is"),
            status if status.is_client_error() => ("IncorrectRequest", "the request's path or head can't be read"),
            _ => ("InternalError", "the instance failed; its log has the cause, under the request's id"),
        };
        Self::new(status, code, message)
    }

    fn answer(self, resource: String, request_id: String, mut headers: HeaderMap) -> Response {
        let Self { status, code, message, oauth, retry_after } = self;
        headers.remove(http::header::CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"outhook\""));
        }
        if let Some(after) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        let body = ErrorBody { code, message, resource, request_id, oauth };
        let body = serde_json::to_vec(&body).expect("an error has only texts");
        (status, headers, body).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<EditError> for ApiError {
    fn from(problem: EditError) -> Self {
        match problem {
            EditError::NotFound(_) => Self::not_found(problem.to_string()),
            EditError::Refused(refusal) => Self::body(refusal.to_string()),
        }
    }
}

impl<E: Into<ApiError>> From<WriteError<E>> for ApiError {
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Refused(problem) => problem.into(),
            WriteError::Unwritten(cause) => {
                // The text names brokers and topics, which are no API client's business.
                tracing::error!("a request could not be written: {cause}");
                Self::unavailable(
                    "the definitions can't be written now: look whether the change was made, then try again",
                )
            }
        }
    }
}

impl From<topic_reader::Error> for ApiError {
    fn from(error: topic_reader::Error) -> Self {
        match error {
            topic_reader::Error::Busy { .. } => {
                let message = "this instance does as many such reads as it does at a time: try again in a moment";
                Self::too_many(message, Duration::from_secs(1))
            }
            topic_reader::Error::Cursor(error) => Self::query(format!("Cursor: {error}")),
            cause => {
                // The text names brokers and topics, which are no API client's business.
                tracing::error!("a request could not be answered: {cause}");
                Self::unavailable("what was kept of messages can't be read now: try again in a moment")
            }
        }
    }
}

const ONE_HOST: &str = "a request of HTTP/1.1 has one Host header: send it, once";

/// Whether the request names its host as RFC 9112 (3.2) wants it: a proxy before this might take another one for it.
fn names_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}

async fn answer(request: Request, next: Next) -> Response {
    tokio::time::timeout(TIME, next.run(request)).await.unwrap_or_else(|_| {
        let seconds = TIME.as_secs();
        let message = format!("no answer within {seconds} s; a change may still be made, so look before you try again");
        ApiError::unavailable(message).into_response()
    })
}

/// Gives every answer the request's id, every error its shape, and an end to all that takes too long.
pub(super) async fn frame(request: Request, next: Next) -> Response {
    let request_id = Uuid::new_v4().hyphenated().to_string();
    let resource = request.uri().path().to_owned();
    let mut response = match names_one_host(&request) {
        true => answer(request, next).await,
        false => ApiError::new(StatusCode::BAD_REQUEST, "IncorrectRequest", ONE_HOST).into_response(),
    };
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let known = response.extensions_mut().remove::<ApiError>();
        let error = known.unwrap_or_else(|| ApiError::of_framework(status));
        response = error.answer(resource, request_id.clone(), std::mem::take(response.headers_mut()));
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
