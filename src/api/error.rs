//! The common shape of API errors, and the middleware that adds the request id and a timeout to every request.

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

/// Max time to answer a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-caspio-request-id");

/// Why a request failed. [`error_middleware`] turns it into a response, because the request's id and path are known
/// there.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The error code of RFC 6749, for the token endpoint.
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
    /// The field, its value, and how to fix it.
    message: String,
    /// The request's path.
    resource: String,
    /// The same id as in the header X-Caspio-Request-ID.
    #[schema(format = "uuid")]
    request_id: String,
    /// Only for /oauth/token: the error code of RFC 6749.
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

    /// Adds the error code of RFC 6749, for OAuth clients.
    pub fn oauth(self, error: &'static str) -> Self {
        Self { oauth: Some(error), ..self }
    }

    /// The error for a status that the framework returned without an [`ApiError`].
    fn of_framework(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::METHOD_NOT_ALLOWED => ("MethodNotAllowed", "this path does not allow the method; see Allow"),
            StatusCode::NOT_FOUND => ("ObjectNotFound", "this path does not exist: /openapi.json lists the paths"),
            status if status.is_client_error() => ("IncorrectRequest", "the request's path or head can't be read"),
            _ => ("InternalError", "the instance failed: its log may have the cause"),
        };
        Self::new(status, code, message)
    }

    fn render(self, resource: String, request_id: String, mut headers: HeaderMap) -> Response {
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
        let body = serde_json::to_vec(&body).expect("an error has only strings");
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
            WriteError::NotWritten(cause) => {
                // The cause names brokers and topics, which API clients must not see.
                tracing::error!("the definitions could not be written for an API request: {cause}");
                Self::unavailable(
                    "the definitions can't be written now: check whether the change was made, then try again",
                )
            }
        }
    }
}

impl From<topic_reader::Error> for ApiError {
    fn from(error: topic_reader::Error) -> Self {
        match error {
            topic_reader::Error::Busy { .. } => {
                let message = "this instance already serves its maximum of such reads: try again in a moment";
                Self::too_many(message, Duration::from_secs(1))
            }
            topic_reader::Error::Cursor(error) => Self::query(format!("Cursor: {error}")),
            cause => {
                // The cause names brokers and topics, which API clients must not see.
                tracing::error!("messages or dead letters could not be read for an API request: {cause}");
                Self::unavailable("messages and dead letters can't be read now: try again in a moment")
            }
        }
    }
}

const HOST_HEADER_MESSAGE: &str = "an HTTP/1.1 request needs exactly one Host header";

/// Whether the request has one Host header, as RFC 9112 (3.2) requires. With two, a proxy could use the other one.
fn has_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}

async fn run_with_timeout(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        let seconds = REQUEST_TIMEOUT.as_secs();
        let message = format!("no answer within {seconds} s; a change may still be made, so check before you retry");
        ApiError::unavailable(message).into_response()
    })
}

/// Middleware: adds the request id to every response, gives every error the common shape, and ends slow requests.
pub(super) async fn error_middleware(request: Request, next: Next) -> Response {
    let request_id = Uuid::new_v4().hyphenated().to_string();
    let resource = request.uri().path().to_owned();
    let mut response = match has_one_host(&request) {
        true => run_with_timeout(request, next).await,
        false => ApiError::new(StatusCode::BAD_REQUEST, "IncorrectRequest", HOST_HEADER_MESSAGE).into_response(),
    };
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let known = response.extensions_mut().remove::<ApiError>();
        let error = known.unwrap_or_else(|| ApiError::of_framework(status));
        response = error.render(resource, request_id.clone(), std::mem::take(response.headers_mut()));
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
