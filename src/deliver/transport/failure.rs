//! Why an attempt got no answer.
//!
//! `Display` is for operators, whose logs may name any address. What clients see, in dead letters, the message log and
//! endpoints' causes, is [`AttemptFailure::public`]: a webhook's URL may have any name in it, and whoever chose it must not
//! learn what an internal name stands for, nor which proxy is between.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::tls_failure;
use crate::definition::guard::Refused;

/// An attempt that ended without a status line.
#[derive(Debug, thiserror::Error)]
pub(in crate::deliver) enum AttemptFailure {
    #[error("http is not allowed: use an https URL, or set delivery.allow_http = true")]
    HttpRefused,
    #[error("its name can't be looked up: {0}")]
    Resolve(std::io::Error),
    #[error("no address of it may be dialled: {0}")]
    RefusedAddress(Refused),
    #[error("can't connect: {0}")]
    Connect(std::io::Error),
    #[error("{words} ({0})", words = tls_failure::in_words(.0))]
    Tls(std::io::Error),
    #[error("{} took longer than {:?}", .0.stage, .0.allowed)]
    Timeout(Limit),
    #[error(transparent)]
    NoToken(#[from] NoToken),
    #[error("can't connect: {0} does not answer")]
    NoAnswer(SocketAddr),
    #[error("the proxy {proxy} {reason}{}", connecting(*.to))]
    Proxy {
        proxy: Box<str>,
        /// What it was asked to connect to.
        to: Option<SocketAddr>,
        status: Option<u16>,
        reason: Box<str>,
    },
    #[error("the connection broke before an answer came: {0}")]
    Broken(String),
    /// Certainly not processed: it goes out again, on another connection.
    #[error("the endpoint did not process the request: {0}")]
    Unprocessed(String),
    /// On HTTP/2; the connection stands, and other requests on it go on.
    #[error("the endpoint reset the request: {0}")]
    Reset(String),
    #[error("the endpoint takes the request on HTTP/1.1 alone (HTTP_1_1_REQUIRED)")]
    Http1Required,
    #[error("its answer is no HTTP: {0}")]
    Protocol(String),
}

/// Why a webhook's token could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no token: {from} {reason}")]
pub(in crate::deliver) struct NoToken {
    /// The token endpoint's scheme, host and port.
    pub from: Box<str>,
    /// Its answer's status, if that is the reason.
    pub status: Option<u16>,
    pub reason: Box<str>,
    /// The same reason for clients, where it is another text.
    pub public: Option<Box<str>>,
}

impl NoToken {
    fn public(&self) -> String {
        format!("no token: {} {}", self.from, self.public.as_ref().unwrap_or(&self.reason))
    }
}

impl AttemptFailure {
    /// The text for clients, without addresses.
    pub fn public(&self) -> String {
        match self {
            AttemptFailure::RefusedAddress(_) => {
                "no address of it may be dialled: the operator's log says why, and can allow it".to_owned()
            }
            AttemptFailure::NoAnswer(_) => "can't connect: it does not answer".to_owned(),
            AttemptFailure::Proxy { reason, to, .. } => {
                format!("the proxy on the way to it {reason}{}", if to.is_some() { " to CONNECT" } else { "" })
            }
            AttemptFailure::NoToken(no_token) => no_token.public(),
            // What the error says may name whom else the certificate is for.
            AttemptFailure::Tls(reason) => tls_failure::in_words(reason).into_owned(),
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

    /// The HTTP status of whoever stood in the way of the endpoint's own.
    pub fn status(&self) -> Option<u16> {
        match self {
            AttemptFailure::NoToken(NoToken { status, .. }) | AttemptFailure::Proxy { status, .. } => *status,
            _ => None,
        }
    }
}

fn connecting(to: Option<SocketAddr>) -> String {
    to.map_or_else(String::new, |to| format!(" to CONNECT {to}"))
}

/// How long an attempt or a part of it may take, and when that is over.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver) struct Limit {
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
pub(in crate::deliver) enum Stage {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::guard::Guard;

    #[test]
    fn what_clients_see_names_no_address_and_no_proxy() {
        let to: SocketAddr = "10.1.2.3:443".parse().unwrap();
        let refused = || AttemptFailure::RefusedAddress(Guard::default().check(to.ip()).unwrap_err());
        let proxy = |to, reason: &str| AttemptFailure::Proxy {
            proxy: "egress.corp:3128".into(),
            to,
            status: None,
            reason: reason.into(),
        };
        let no_token = NoToken {
            from: "https://login.example".into(),
            status: None,
            reason: format!("can't be asked: {}", refused()).into(),
            public: Some(format!("can't be asked: {}", refused().public()).into()),
        };
        for (failure, told) in [
            (refused(), "no address of it may be dialled"),
            (AttemptFailure::NoAnswer(to), "does not answer"),
            (proxy(Some(to), "answered 403 Forbidden"), "the proxy on the way to it answered 403 Forbidden to CONNECT"),
            (proxy(None, "gave no answer"), "the proxy on the way to it gave no answer"),
            (AttemptFailure::NoToken(no_token), "no token: https://login.example can't be asked: no address"),
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
