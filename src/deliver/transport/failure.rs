//! Why an attempt got no response.
//!
//! `Display` is for operators, whose logs may name any address. Clients see [`AttemptFailure::public`] in dead
//! letters, the message log and the causes of endpoints. A webhook's URL may have any name in it, and its author must
//! not learn the address of an internal name, or which proxy is used.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::tls_failure;
use crate::definition::address_guard::AddressRefused;

/// An attempt that ended without a status line.
#[derive(Debug, thiserror::Error)]
pub(in crate::deliver) enum AttemptFailure {
    #[error("http is not allowed: use an https URL, or set delivery.allow_http = true")]
    HttpRefused,
    #[error("the lookup of its host name failed: {0}")]
    Resolve(std::io::Error),
    #[error("none of its addresses may be dialled: {0}")]
    RefusedAddress(AddressRefused),
    #[error("can't connect: {0}")]
    Connect(std::io::Error),
    #[error("{words} ({0})", words = tls_failure::explain(.0))]
    Tls(std::io::Error),
    #[error("{} took longer than {:?}", .0.stage, .0.allowed)]
    Timeout(Limit),
    #[error(transparent)]
    NoToken(#[from] TokenError),
    #[error("can't connect: {0} does not answer")]
    NoAnswer(SocketAddr),
    #[error("the proxy {proxy} {reason}{}", connect_target_text(*.to))]
    Proxy {
        proxy: Box<str>,
        /// The address that the proxy was asked to connect to.
        to: Option<SocketAddr>,
        status: Option<u16>,
        reason: Box<str>,
    },
    #[error("the connection broke before a response came: {0}")]
    Broken(String),
    /// Certainly not processed: the request is sent again on another connection.
    #[error("the endpoint did not process the request: {0}")]
    Unprocessed(String),
    /// On HTTP/2 only. The connection stays open, and its other requests continue.
    #[error("the endpoint reset the request: {0}")]
    Reset(String),
    #[error("the endpoint accepts the request only on HTTP/1.1 (HTTP_1_1_REQUIRED)")]
    Http1Required,
    #[error("its response is not valid HTTP: {0}")]
    Protocol(String),
}

/// Why a webhook's token could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no token: {from} {reason}")]
pub(in crate::deliver) struct TokenError {
    /// Scheme, host and port of the token endpoint.
    pub from: Box<str>,
    /// The status of its response, if that is the reason.
    pub status: Option<u16>,
    pub reason: Box<str>,
    /// The reason for clients, if the text differs.
    pub public_reason: Option<Box<str>>,
}

impl TokenError {
    fn public(&self) -> String {
        format!("no token: {} {}", self.from, self.public_reason.as_ref().unwrap_or(&self.reason))
    }
}

impl AttemptFailure {
    /// The text for clients, without addresses.
    pub fn public(&self) -> String {
        match self {
            AttemptFailure::RefusedAddress(_) => {
                "none of its addresses may be dialled: the reason is in the operator's log; the operator can allow one"
                    .to_owned()
            }
            AttemptFailure::NoAnswer(_) => "can't connect: it does not answer".to_owned(),
            AttemptFailure::Proxy { reason, to, .. } => {
                format!("the outbound proxy {reason}{}", if to.is_some() { " to CONNECT" } else { "" })
            }
            AttemptFailure::NoToken(no_token) => no_token.public(),
            // The error may name other hosts that the certificate is for.
            AttemptFailure::Tls(reason) => tls_failure::explain(reason).into_owned(),
            AttemptFailure::HttpRefused
            | AttemptFailure::Resolve(_)
            | AttemptFailure::Connect(_)
            | AttemptFailure::Timeout(_)
            | AttemptFailure::Broken(_)
            | AttemptFailure::Unprocessed(_)
            | AttemptFailure::Reset(_)
            | AttemptFailure::Http1Required
            | AttemptFailure::Protocol(_) => self.to_string(),
        }
    }

    /// The HTTP status of the proxy or token endpoint that prevented a response of the endpoint.
    pub fn status(&self) -> Option<u16> {
        match self {
            AttemptFailure::NoToken(TokenError { status, .. }) | AttemptFailure::Proxy { status, .. } => *status,
            _ => None,
        }
    }
}

fn connect_target_text(to: Option<SocketAddr>) -> String {
    to.map_or_else(String::new, |to| format!(" to CONNECT {to}"))
}

/// Time limit of an attempt or of a stage of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver) struct Limit {
    pub stage: AttemptStage,
    pub allowed: Duration,
    pub deadline: Instant,
}

impl Limit {
    /// A limit that starts now.
    pub fn new(stage: AttemptStage, allowed: Duration) -> Self {
        Self { stage, allowed, deadline: Instant::now() + allowed }
    }

    /// Time since the start of the limit.
    pub fn elapsed(&self) -> Duration {
        (Instant::now() + self.allowed).saturating_duration_since(self.deadline)
    }

    /// The same limit, later by the time that the stage was suspended.
    pub fn postponed(self, wait: Duration) -> Limit {
        Self { deadline: self.deadline + wait, ..self }
    }

    /// Returns the limit that ends first: a stage takes no longer than the whole attempt.
    pub fn earlier_of(self, whole: Limit) -> Limit {
        if whole.deadline < self.deadline { whole } else { self }
    }
}

/// The stage that a limit applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum AttemptStage {
    Attempt,
    Connect,
    FirstByte,
}

impl std::fmt::Display for AttemptStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AttemptStage::Attempt => "the attempt",
            AttemptStage::Connect => "connecting",
            AttemptStage::FirstByte => "the response",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::address_guard::AddressGuard;

    #[test]
    fn public_failure_text_names_no_internal_address_or_proxy() {
        let to: SocketAddr = "10.1.2.3:443".parse().unwrap();
        let refused = || AttemptFailure::RefusedAddress(AddressGuard::default().check(to.ip()).unwrap_err());
        let proxy = |to, reason: &str| AttemptFailure::Proxy {
            proxy: "egress.corp:3128".into(),
            to,
            status: None,
            reason: reason.into(),
        };
        let no_token = TokenError {
            from: "https://login.example".into(),
            status: None,
            reason: format!("failed: {}", refused()).into(),
            public_reason: Some(format!("failed: {}", refused().public()).into()),
        };
        for (failure, told) in [
            (refused(), "none of its addresses may be dialled"),
            (AttemptFailure::NoAnswer(to), "does not answer"),
            (proxy(Some(to), "answered 403 Forbidden"), "the outbound proxy answered 403 Forbidden to CONNECT"),
            (proxy(None, "gave no answer"), "the outbound proxy gave no answer"),
            (AttemptFailure::NoToken(no_token), "no token: https://login.example failed: none of its addresses"),
        ] {
            let (public, logged) = (failure.public(), failure.to_string());
            assert!(public.contains(told), "{public}");
            for internal in ["10.1.2.3", "private", "egress.corp", "allow_addresses"] {
                assert!(!public.contains(internal), "{public}");
            }
            assert!(logged.contains("10.1.2.3") || logged.contains("egress.corp"), "{logged}");
        }
    }
}
