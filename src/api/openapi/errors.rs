//! What every operation may answer besides what it is for, named once and referred to.

use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, ContentBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Type};

use super::super::body::MAX_BODY;

const REQUEST_ID: &str = "X-Caspio-Request-ID";

/// A kind of error: its name in the document, its status, and when it comes.
struct ErrorKind {
    name: &'static str,
    status: u16,
    when: &'static str,
    /// A header that it always has, and what that says.
    header: Option<(&'static str, &'static str)>,
}

const INCORRECT: ErrorKind =
    kind("Incorrect", 400, "A field or parameter is missing or wrong, or can't be read. Message says where.");
const UNAUTHORIZED: ErrorKind = ErrorKind {
    header: Some(("WWW-Authenticate", "Bearer, with the realm")),
    ..kind("Unauthorized", 401, "A token is missing, wrong or expired, or the client is not known.")
};
const NOT_FOUND: ErrorKind = kind("NotFound", 404, "It is not there, or not in this account.");
const NO_METHOD: ErrorKind = ErrorKind {
    header: Some(("Allow", "The methods that the path knows")),
    ..kind("MethodNotAllowed", 405, "The path does not know the method.")
};
const CONFLICT: ErrorKind = kind("Conflict", 409, "It can't be done as things are now. Message says why.");
const TIMEOUT: ErrorKind = kind("RequestTimeout", 408, "The body did not arrive in time.");
const TOO_LARGE: ErrorKind = kind("TooLarge", 413, "The body is larger than 1 MiB, or broke off.");
const TOO_MANY: ErrorKind = ErrorKind {
    header: Some(("Retry-After", "Seconds to wait")),
    ..kind(
        "TooManyRequests",
        429,
        "Too many wrong credentials from this address, or too much of this account at once: changes, reads, previews.",
    )
};
const UNAVAILABLE: ErrorKind = ErrorKind {
    header: Some(("Retry-After", "Seconds to wait")),
    ..kind("Unavailable", 503, "Kafka can't be read or written now; nothing was changed unless Message says so.")
};
const KINDS: [ErrorKind; 9] =
    [INCORRECT, UNAUTHORIZED, NOT_FOUND, NO_METHOD, CONFLICT, TIMEOUT, TOO_LARGE, TOO_MANY, UNAVAILABLE];
const _: () = assert!(MAX_BODY == 1024 * 1024, "TOO_LARGE says how large a body may be");

const fn kind(name: &'static str, status: u16, when: &'static str) -> ErrorKind {
    ErrorKind { name, status, when, header: None }
}

/// The kinds, to be referred to.
pub(super) fn describe(components: &mut Components) {
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

/// Adds to an operation what it may answer besides; of some there may be too many at once.
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
    header("The request's id, which the log has too")
}

/// A header that is always there. The library has no field for that, so it is an extension by its real name.
fn header(says: &str) -> Header {
    let always = Extensions::from_iter([("required", json!(true))]);
    let schema = Object::with_type(Type::String);
    HeaderBuilder::new().schema(Some(schema)).description(Some(says)).extensions(Some(always)).build()
}
