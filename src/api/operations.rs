//! For operators and their machines: metrics, liveness, readiness.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::lifecycle::Readiness;
use crate::telemetry::Metrics;

/// What operators may ask.
pub struct Operations {
    pub metrics: Metrics,
    pub readiness: Readiness,
}

impl Operations {
    /// Answers a request; its body is not looked at.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let answer = match path {
            "/metrics" => Self::metrics,
            "/health/live" => Self::live,
            "/health/ready" => Self::ready,
            _ => return not_found(path),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed(request.method());
        }
        answer(self)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render())
    }

    /// The process answers, which is all that liveness asks.
    fn live(&self) -> Response<Full<Bytes>> {
        respond_json(StatusCode::OK, &json!({"status": "live"}))
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let missing = self.readiness.missing();
        if missing.is_empty() {
            respond_json(StatusCode::OK, &json!({"status": "ready"}))
        } else {
            respond_json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not ready", "missing": missing}))
        }
    }
}

fn not_found(path: &str) -> Response<Full<Bytes>> {
    let message = format!("nothing is at {path}; there are /metrics, /health/live and /health/ready");
    respond_json(StatusCode::NOT_FOUND, &json!({"error": message}))
}

fn not_allowed(method: &Method) -> Response<Full<Bytes>> {
    let mut response = respond_json(
        StatusCode::METHOD_NOT_ALLOWED,
        &json!({"error": format!("{method} is not understood here; use GET")}),
    );
    response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    response
}

fn respond_json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    respond(status, "application/json", format!("{body}\n"))
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
