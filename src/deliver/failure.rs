//! Why an attempt got no answer.

use std::time::Duration;

use tokio::time::Instant;

use crate::definition::guard::Refused;

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
    #[error("{} took longer than {:?}", .0.stage, .0.allowed)]
    Timeout(Limit),
    #[error(transparent)]
    NoToken(#[from] NoToken),
    #[error("the proxy {proxy} {reason}")]
    Proxy { proxy: Box<str>, status: Option<u16>, reason: Box<str> },
    #[error("the connection broke before an answer came: {0}")]
    Broken(String),
    #[error("its answer is no HTTP: {0}")]
    Protocol(String),
}

/// Why a webhook's token could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no token: {from} {reason}")]
pub(super) struct NoToken {
    /// The token endpoint's scheme, host and port.
    pub from: Box<str>,
    /// Its answer's status, if that is the reason.
    pub status: Option<u16>,
    pub reason: Box<str>,
}

impl Failure {
    /// The HTTP status of whoever stood in the way of the endpoint's own.
    pub fn status(&self) -> Option<u16> {
        match self {
            Failure::NoToken(NoToken { status, .. }) | Failure::Proxy { status, .. } => *status,
            _ => None,
        }
    }
}

/// How long an attempt or a part of it may take, and when that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub stage: Stage,
    pub allowed: Duration,
    pub deadline: Instant,
}

impl Limit {
    /// A limit for what starts now.
    pub fn new(stage: Stage, allowed: Duration) -> Self {
        Self { stage, allowed, deadline: Instant::now() + allowed }
    }

    /// How long what it limits has taken by now.
    pub fn took(&self) -> Duration {
        (Instant::now() + self.allowed).saturating_duration_since(self.deadline)
    }

    /// The same limit for what stood still for so long.
    pub fn put_off(self, wait: Duration) -> Limit {
        Self { deadline: self.deadline + wait, ..self }
    }

    /// Whichever of the two is over first: a part takes no longer than its whole.
    pub fn within(self, whole: Limit) -> Limit {
        if whole.deadline < self.deadline { whole } else { self }
    }
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Attempt,
    Connect,
    FirstByte,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Attempt => "the attempt",
            Stage::Connect => "connecting",
            Stage::FirstByte => "the answer",
        })
    }
}
