//! The page to read and try the API: one file, with nothing from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use ring::digest::{SHA256, digest};

use super::super::Api;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page at its path.
pub(super) fn routes() -> Router<Arc<Api>> {
    let page: Arc<str> = HTML.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT).into();
    let policy: Arc<str> = policy().into();
    Router::new().route("/docs", get(move || async move { answer(&page, &policy) }))
}

fn answer(page: &str, policy: &str) -> impl IntoResponse + use<> {
    let headers = [
        (CONTENT_SECURITY_POLICY, policy.to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, Html(page.to_owned()))
}

/// Only the page's own style and script, known by their hashes, and only requests to where it came from.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}
