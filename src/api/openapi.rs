//! The OpenAPI 3.1 document of the API, generated from the handlers.

mod errors;
mod schemas;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::security::{
    ClientCredentials, Flow, Http, HttpAuthScheme, OAuth2, Scopes, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, OpenApi, RefOr, Schema, Server, ServerBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::{Api, oauth, rest};

/// Names of the two security schemes in the document.
const TOKEN_SCHEME: &str = "token";
const CLIENT_SCHEME: &str = "client";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Outhook",
        description = "Webhooks and their events: which row changes are sent to which URLs, and in which messages. \
                       Compatible with the outgoing webhooks of Caspio's REST API. The API is served under six base \
                       paths. A method that a path does not allow returns 405 with the header Allow.",
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "Webhooks", description = "Endpoint URLs and their settings."),
        (name = "Events", description = "The row changes of a table that a webhook sends, and the payload."),
        (name = "Previews", description = "The message that an event would send for a row change, and why."),
        (name = "Dead letters", description = "Calls whose retries ended, with their causes; redrive."),
        (name = "Messages", description = "Messages and their attempts; resend."),
        (name = "Endpoints", description = "The state of endpoints, and the calls that wait for them."),
        (name = "Tables", description = "Tables and fields that are declared or were seen in the stream."),
        (name = "Access", description = "Tokens. `outhook clients create` creates a client."),
    ),
)]
struct OpenApiDocument;

/// The OpenAPI document as JSON text, as the API serves it.
pub fn openapi() -> String {
    text(&routes_and_document().1)
}

fn text(document: &OpenApi) -> String {
    let mut text = document.to_pretty_json().expect("a document has only string keys");
    text.push('\n');
    text
}

/// The routes, and the document that describes them.
pub(super) fn routes_and_document() -> (Router<Arc<Api>>, OpenApi) {
    let described = OpenApiRouter::with_openapi(OpenApiDocument::openapi());
    let (below_base, mut document) = described.merge(rest::router()).split_for_parts();
    for (operation, writes) in document.paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(vec![SecurityRequirement::new(TOKEN_SCHEME, [""; 0])]);
        operation.parameters.iter_mut().flatten().for_each(describe_id);
        schemas::refine_bodies(operation);
        let reads_log = operation.tags.iter().flatten().any(|tag| tag == "Dead letters" || tag == "Messages");
        errors::add(operation, writes || reads_log);
    }
    let (token, mut token_document) = OpenApiRouter::new().routes(routes!(oauth::token)).split_for_parts();
    for item in token_document.paths.paths.values_mut() {
        item.servers = Some(vec![Server::new("/")]);
        operations(item).for_each(|(operation, _)| errors::add(operation, true));
    }
    document.merge(token_document);
    document.servers =
        Some(rest::BASE_PATHS.iter().rev().map(|base| ServerBuilder::new().url(*base).build()).collect());
    let components = document.components.get_or_insert_default();
    add_security(components);
    errors::add_components(components);
    schemas::refine(&mut components.schemas);
    let router = rest::BASE_PATHS.iter().fold(token, |router, base| router.nest(base, below_base.clone()));
    (router, document)
}

/// The operations of a path, each with whether it is not a GET.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let PathItem { get, post, put, patch, delete, .. } = item;
    let others = [post, put, patch, delete].into_iter().flatten().map(|operation| (operation, true));
    get.iter_mut().map(|operation| (operation, false)).chain(others)
}

fn add_security(components: &mut Components) {
    let flow = Flow::ClientCredentials(ClientCredentials::new("/oauth/token", Scopes::new()));
    let mut token = OAuth2::new([flow]);
    token.description = Some("Authorization: Bearer, with a token from /oauth/token.".to_owned());
    components.add_security_scheme(TOKEN_SCHEME, SecurityScheme::OAuth2(token));
    components.add_security_scheme(CLIENT_SCHEME, SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
}

const UUID_PATTERN: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";

/// Adds description and pattern to an id parameter. They are the same at every path, so they are set here once.
fn describe_id(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(Parameter { name, description, schema: Some(RefOr::T(Schema::Object(schema))), .. }) = parameter {
        let (form, pattern) = match name.as_str() {
            "letterId" => ("Partition and offset in the dead-letter topic, such as 2:1044.", "^[0-9]+:[0-9]+$"),
            "messageId" => ("A UUID; receivers get it as webhook-id.", UUID_PATTERN),
            "webhookId" | "eventId" | "EventId" => ("6 characters of a-z and 0-9.", "^[a-z0-9]{6}$"),
            _ => return,
        };
        description.get_or_insert_with(|| form.to_owned());
        schema.pattern = Some(pattern.to_owned());
    }
}

/// Serves the document.
pub(super) fn router(document: &OpenApi) -> Router<Arc<Api>> {
    let document: Arc<str> = text(document).into();
    let answer = move || async move { ([(CONTENT_TYPE, "application/json")], document.to_string()) };
    Router::new().route("/openapi.json", get(answer))
}
