//! The HTTP listener: the REST API with its tokens, and what operators ask for.

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
mod shares;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use http::StatusCode;

use self::error::ApiError;
use crate::catalogue::Catalogue;
use crate::dead_letters::Letters;
use crate::decode;
use crate::definition::rules::Policy;
use crate::endpoints::Endpoints;
use crate::lifecycle::Readiness;
use crate::message_log::MessageLog;
use crate::redelivery::Redrive;
use crate::redelivery::Resend;
use crate::render::AttachmentUrl;
use crate::stats::Stats;
use crate::store::Store;
use crate::telemetry::Metrics;

pub use self::config::{Access, Config, TokenSecret};
pub use self::listener::{BindError, Listener, try_out};
pub use self::oauth::Guesses;
pub use self::openapi::openapi;
pub use self::rest::{AttemptShown, LetterShown, MessageShown, OpenedShown};
pub use self::shares::Shares;

/// What requests are answered from.
pub struct Api {
    pub metrics: Metrics,
    pub readiness: Readiness,
    pub store: Arc<Store>,
    pub stats: Arc<Stats>,
    pub catalogue: Arc<Catalogue>,
    /// How they stand, and orders to try them now.
    pub endpoints: Arc<Endpoints>,
    /// What was given up.
    pub letters: Letters,
    /// What became of every attempt.
    pub message_log: MessageLog,
    /// Sends a message again.
    pub resend: Resend,
    /// Sends it out again.
    pub redrive: Redrive,
    /// What definitions may be.
    pub policy: Policy,
    pub access: Access,
    /// How the records of a topic are read.
    pub decoding: Decoding,
    pub attachment_url: Option<AttachmentUrl>,
    pub guesses: Guesses,
    pub shares: Shares,
}

/// Says how the records of a topic are read; None for a topic of no source.
pub type Decoding = Box<dyn Fn(&str) -> Option<Arc<decode::Settings>> + Send + Sync>;

impl Api {
    /// Everything that is answered.
    pub fn router(self) -> Router {
        let (rest, document) = openapi::split();
        let mut framed = Router::new().merge(rest);
        framed = framed.merge(openapi::router(&document)).merge(page::routes()).fallback(nothing_here);
        let framed = framed.layer(from_fn(error::frame));
        let open =
            operations::routes().into_iter().fold(Router::new(), |router, (path, route)| router.route(path, route));
        open.merge(framed).with_state(Arc::new(self))
    }
}

async fn nothing_here() -> ApiError {
    let message = "nothing is at this path; / leads to what there is, and /openapi.json describes the API";
    ApiError::new(StatusCode::NOT_FOUND, "ObjectNotFound", message)
}
