//! The HTTP listener: REST API, tokens, metrics and health checks.

mod account_limits;
mod body;
mod config;
mod error;
mod listener;
mod oauth;
mod openapi;
mod operations;
mod page;
mod query;
mod rest;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use http::StatusCode;

use self::error::ApiError;
use crate::catalogue::Catalogue;
use crate::dead_letters::DeadLetterReader;
use crate::decode;
use crate::definition::rules::Policy;
use crate::endpoints::Endpoints;
use crate::lifecycle::Readiness;
use crate::message_log::MessageLogReader;
use crate::redelivery::Redriver;
use crate::redelivery::Resender;
use crate::render::AttachmentUrl;
use crate::stats::Stats;
use crate::store::Store;
use crate::telemetry::Metrics;

pub use self::config::{Access, Config, TokenSecret};
pub use self::listener::{BindError, Listener, check_address};
pub use self::oauth::GuessLimiter;
pub use self::openapi::openapi;
pub use self::rest::{AttemptView, DeadLetterView, DeadLetterWithBodyView, EndpointState, MessageView};
pub use crate::api::account_limits::AccountLimits;

/// Everything that request handlers use.
pub struct Api {
    pub metrics: Metrics,
    pub readiness: Readiness,
    pub store: Arc<Store>,
    pub stats: Arc<Stats>,
    pub catalogue: Arc<Catalogue>,
    /// State of the endpoints, and orders to retry their waiting calls now.
    pub endpoints: Arc<Endpoints>,
    /// Reads dead letters.
    pub dead_letters: DeadLetterReader,
    /// Reads the entries of all attempts.
    pub message_log: MessageLogReader,
    /// Sends a message again.
    pub resender: Resender,
    /// Sends dead letters again.
    pub redriver: Redriver,
    /// Rules that definitions must follow.
    pub policy: Policy,
    pub access: Access,
    /// Decoder settings per topic.
    pub decoder_settings: DecoderSettingsLookup,
    pub attachment_url: Option<AttachmentUrl>,
    pub guess_limiter: GuessLimiter,
    pub account_limits: AccountLimits,
}

/// Returns the decoder settings of a topic; None if no source reads the topic.
pub type DecoderSettingsLookup = Box<dyn Fn(&str) -> Option<Arc<decode::Settings>> + Send + Sync>;

impl Api {
    /// The routes of all paths.
    pub fn router(self) -> Router {
        let (rest, document) = openapi::routes_and_document();
        let mut framed = Router::new().merge(rest);
        framed = framed.merge(openapi::router(&document)).merge(page::routes()).fallback(not_found);
        let framed = framed.layer(from_fn(error::error_middleware));
        let open =
            operations::routes().into_iter().fold(Router::new(), |router, (path, route)| router.route(path, route));
        open.merge(framed).with_state(Arc::new(self))
    }
}

async fn not_found() -> ApiError {
    let message = "this path does not exist: see / for an overview, or /openapi.json for the API";
    ApiError::new(StatusCode::NOT_FOUND, "ObjectNotFound", message)
}
