//! The HTML pages: the start page, and the page to read and try the API. Each page loads nothing from other hosts.

use std::sync::Arc;

use axum::Router;
use axum::response::{Html, IntoResponse};
use axum::routing::{MethodRouter, get};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use ring::digest::{SHA256, digest};

use super::Api;

const STYLE: &str = include_str!("page.css");

/// Routes of the pages. The pages are public: they contain no data of an account or of the cluster.
pub(super) fn routes() -> Router<Arc<Api>> {
    let docs = page(include_str!("openapi/page.html"), include_str!("openapi/page.js"));
    Router::new().route("/", page(include_str!("start.html"), "")).route("/docs", docs)
}

fn page(html: &str, script: &str) -> MethodRouter<Arc<Api>> {
    let page: Arc<str> = html.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", script).into();
    let policy: Arc<str> = policy(script).into();
    get(move || async move { page_response(&page, &policy) })
}

fn page_response(page: &str, policy: &str) -> impl IntoResponse + use<> {
    let headers = [
        (CONTENT_SECURITY_POLICY, policy.to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, Html(page.to_owned()))
}

/// Content security policy: allows only the page's own style and script, by hash, and requests to its own origin.
fn policy(script: &str) -> String {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let style = hash(STYLE);
    let script = match script {
        "" => String::new(),
        script => format!("script-src 'sha256-{}'; connect-src 'self'; ", hash(script)),
    };
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; {script}base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}
