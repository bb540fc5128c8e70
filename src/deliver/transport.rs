//! One HTTP request to an endpoint: name lookup, address check, proxy, TLS, connection, headers, signature, response.

pub(super) mod connection;
pub(super) mod dial;
pub(super) mod failure;
pub(super) mod happy_eyeballs;
mod head_limits;
pub(super) mod proxy;
pub(super) mod resolve;
pub(super) mod response_progress;
pub(super) mod route;
pub(super) mod signature;
pub(super) mod status_line;
pub(super) mod tls;
pub(super) mod tls_failure;
pub(super) mod tokens;
pub(super) mod tracked_body;
