//! The description of the API (OpenAPI 3.1), made of the code that answers, and a page to read and try it.

use std::sync::Arc;

use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ClientCredentials, Flow, OAuth2, Scopes, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, SecurityRequirement, Server, ServerBuilder,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::{Api, body, oauth, rest};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Outhook",
        description = "Webhooks and their events: which row changes are sent to which URLs, and what is sent. \
                       Compatible with the outgoing webhooks of Caspio's REST API.",
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "Webhooks", description = "Where messages go."),
        (name = "Events", description = "Which row changes fire, and what is sent."),
        (name = "Previews", description = "What would be sent, and why."),
        (name = "Tables", description = "Tables and fields that were seen in the stream."),
        (name = "Access", description = "Tokens. `outhook clients create` makes a client."),
    ),
)]
struct Document;

/// The routes, and the document that describes them.
pub(super) fn split() -> (Router<Arc<Api>>, OpenApi) {
    let (below_base, mut document) =
        OpenApiRouter::with_openapi(Document::openapi()).merge(rest::router()).split_for_parts();
    for item in document.paths.paths.values_mut() {
        for operation in
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
        {
            describe_common(operation);
        }
    }
    let (token, of_token) = OpenApiRouter::new().routes(routes!(oauth::token)).split_for_parts();
    let mut of_token = of_token;
    for item in of_token.paths.paths.values_mut() {
        item.servers = Some(vec![Server::new("/")]);
        if let Some(operation) = &mut item.post {
            add_errors(
                operation,
                &[
                    (400, "A field is missing or wrong."),
                    (401, "The client is not known."),
                    (413, "The body is too large."),
                    (429, "Too many wrong guesses."),
                    (503, "No client was made yet, or the instance is busy."),
                ],
            );
        }
    }
    document.merge(of_token);
    document.servers = Some(rest::BASES.iter().rev().map(|base| ServerBuilder::new().url(*base).build()).collect());
    let flow = Flow::ClientCredentials(ClientCredentials::new("/oauth/token", Scopes::new()));
    if let Some(components) = &mut document.components {
        components.add_security_scheme("oauth", SecurityScheme::OAuth2(OAuth2::new([flow])));
    }
    let router = rest::BASES.iter().fold(token, |router, base| router.nest(base, below_base.clone()));
    (router, document)
}

/// What every operation may answer besides.
fn describe_common(operation: &mut Operation) {
    operation.security = Some(vec![SecurityRequirement::new("oauth", [""; 0])]);
    add_errors(
        operation,
        &[(401, "The token is missing, wrong or expired."), (503, "The definitions can't be written now.")],
    );
    if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        add_errors(operation, &[(400, "The path can't be read."), (404, "It is not there, or not in this account.")]);
    }
    if operation.request_body.is_some() {
        let too_large = format!("The body has more than {} bytes.", body::MAX_BODY);
        add_errors(operation, &[(400, "A field is missing or wrong, or the body is no JSON."), (413, &too_large)]);
    }
}

fn add_errors(operation: &mut Operation, errors: &[(u16, &str)]) {
    for (status, description) in errors {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
        let response: RefOr<Response> =
            ResponseBuilder::new().description(*description).content("application/json", content).build().into();
        operation.responses.responses.insert(status.to_string(), response);
    }
}

/// Serves the document, and the page.
pub(super) fn router(document: OpenApi) -> Router<Arc<Api>> {
    let document = Arc::new(document);
    Router::new()
        .route("/openapi.json", get(move || async move { Json(document.as_ref()).into_response() }))
        .route("/docs", get(|| async { Html(include_str!("openapi/page.html")) }))
}
