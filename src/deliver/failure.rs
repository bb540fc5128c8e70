//! Why an attempt got no answer.

use std::time::Duration;

use super::guard::Refused;

/// An attempt that ended without a status line.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("http is not allowed: use an https URL, or set delivery.allow_http = true")]
    HttpRefused,
    #[error("its name can't be looked up: {0}")]
    Resolve(std::io::Error),
    #[error("no address of it may be dialled: {0}")]
    RefusedAddress(Refused),
    #[error("can't connect: {0}")]
    Connect(std::io::Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(std::io::Error),
    #[error("{stage} took longer than {limit:?}")]
    Timeout { stage: Stage, limit: Duration },
    #[error("the connection broke before an answer came: {0}")]
    Broken(String),
    #[error("its answer is no HTTP: {0}")]
    Protocol(String),
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connect,
    FirstByte,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connecting",
            Stage::FirstByte => "the answer",
        })
    }
}
