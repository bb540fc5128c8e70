//! One HTTP request to an endpoint: name lookup, address check, proxy, TLS, connection, headers, signature, response.

pub(super) mod connection;
pub(super) mod dial;
pub(super) mod eyeballs;
pub(super) mod failure;
mod heads;
pub(super) mod proxy;
pub(super) mod resolve;
pub(super) mod response_progress;
pub(super) mod route;
pub(super) mod signature;
pub(super) mod status_line;
pub(super) mod taken;
pub(super) mod tls;
pub(super) mod tls_failure;
pub(super) mod tokens;
