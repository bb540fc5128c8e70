//! Endpoints for operators: metrics, liveness, readiness.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::Api;

/// Content type of Prometheus' text format.
const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Paths and their handlers.
pub(super) fn routes() -> [(&'static str, MethodRouter<Arc<Api>>); 3] {
    [("/metrics", get(metrics)), ("/health/live", get(live)), ("/health/ready", get(ready))]
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], api.metrics.render()).into_response()
}

/// Always succeeds: a process that answers is live.
async fn live() -> Response {
    respond(StatusCode::OK, &json!({"status": "live"}))
}

async fn ready(State(api): State<Arc<Api>>) -> Response {
    let missing = api.readiness.unmet_conditions();
    if missing.is_empty() {
        respond(StatusCode::OK, &json!({"status": "ready"}))
    } else {
        respond(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not ready", "missing": missing}))
    }
}

fn respond(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}
