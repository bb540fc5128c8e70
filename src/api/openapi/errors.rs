//! Error responses of the operations, defined once as components and referenced by each operation.

use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, ContentBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Type};

use super::super::body::MAX_BODY;

const REQUEST_ID: &str = "X-Caspio-Request-ID";

/// A kind of error: its name in the document, its status, and when it is returned.
struct ErrorKind {
    name: &'static str,
    status: u16,
    when: &'static str,
    /// A header that the response always has, and its description.
    header: Option<(&'static str, &'static str)>,
}

const INCORRECT: ErrorKind =
    kind("Incorrect", 400, "A field or parameter is missing, wrong or unreadable. Message names it.");
const UNAUTHORIZED: ErrorKind = ErrorKind {
    header: Some(("WWW-Authenticate", "Bearer, with the realm")),
    ..kind("Unauthorized", 401, "The token is missing, wrong or expired, or the client is unknown.")
};
const NOT_FOUND: ErrorKind = kind("NotFound", 404, "It does not exist, or not in this account.");
const METHOD_NOT_ALLOWED: ErrorKind = ErrorKind {
    header: Some(("Allow", "The methods that the path allows")),
    ..kind("MethodNotAllowed", 405, "The path does not allow the method.")
};
const CONFLICT: ErrorKind = kind("Conflict", 409, "The request can't be done in the current state. Message says why.");
const TIMEOUT: ErrorKind = kind("RequestTimeout", 408, "The body did not arrive in time.");
const TOO_LARGE: ErrorKind = kind("TooLarge", 413, "The body is larger than 1 MiB.");
const TOO_MANY: ErrorKind = ErrorKind {
    header: Some(("Retry-After", "Seconds to wait")),
    ..kind(
        "TooManyRequests",
        429,
        "Too many wrong credentials from this address, or too many changes, reads or previews of this account.",
    )
};
const UNAVAILABLE: ErrorKind = ErrorKind {
    header: Some(("Retry-After", "Seconds to wait")),
    ..kind("Unavailable", 503, "Kafka can't be read or written now. Nothing was changed unless Message says otherwise.")
};
const KINDS: [ErrorKind; 9] =
    [INCORRECT, UNAUTHORIZED, NOT_FOUND, METHOD_NOT_ALLOWED, CONFLICT, TIMEOUT, TOO_LARGE, TOO_MANY, UNAVAILABLE];
const _: () = assert!(MAX_BODY == 1024 * 1024, "TOO_LARGE says how large a body may be");

const fn kind(name: &'static str, status: u16, when: &'static str) -> ErrorKind {
    ErrorKind { name, status, when, header: None }
}

/// Adds the kinds to the components.
pub(super) fn add_components(components: &mut Components) {
    let named = KINDS.iter().map(|kind| (kind.name.to_owned(), RefOr::from(kind.response())));
    components.responses.extend(named);
}

impl ErrorKind {
    fn response(&self) -> Response {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
        let response = ResponseBuilder::new().description(self.when).content("application/json", content);
        let response = response.header(REQUEST_ID, request_id());
        match self.header {
            Some((name, says)) => response.header(name, header(says)).build(),
            None => response.build(),
        }
    }
}

/// Adds the error responses of an operation. `may_be_too_many`: the operation is rate-limited, so it can return 429.
pub(super) fn add(operation: &mut Operation, may_be_too_many: bool) {
    let has_path = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    let has_body = operation.request_body.is_some();
    let may_conflict = operation.operation_id.as_deref() == Some("resendMessage");
    let may = [
        (INCORRECT, has_path || has_body),
        (UNAUTHORIZED, true),
        (NOT_FOUND, has_path),
        (CONFLICT, may_conflict),
        (TIMEOUT, has_body),
        (TOO_LARGE, has_body),
        (TOO_MANY, may_be_too_many),
        (UNAVAILABLE, true),
    ];
    let responses = &mut operation.responses.responses;
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert(REQUEST_ID.to_owned(), request_id().into());
        }
    }
    for (kind, _) in may.into_iter().filter(|(_, may)| *may) {
        responses.insert(kind.status.to_string(), Ref::from_response_name(kind.name).into());
    }
}

fn request_id() -> Header {
    header("The request's id")
}

/// A header that is always present. The library has no field for `required`, so it is set as an extension.
fn header(says: &str) -> Header {
    let always = Extensions::from_iter([("required", json!(true))]);
    let schema = Object::with_type(Type::String);
    HeaderBuilder::new().schema(Some(schema)).description(Some(says)).extensions(Some(always)).build()
}
