//! Classifies a response or a failure: delivered, retry, or stop; pure.

use std::io;
use std::time::Duration;

use crate::deliver::transport::failure::{AttemptFailure, AttemptStage, Limit};

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Verdict {
    Delivered,
    /// Another attempt may succeed. `asked_wait` is the wait that the endpoint asks for, if any.
    Retry {
        asked_wait: Option<Duration>,
    },
    /// No other attempt may follow.
    Stop,
}

/// How an attempt ended: the closed set of classes in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum AttemptClass {
    Status2xx,
    Status3xx,
    Status4xx,
    Status5xx,
    StatusOther,
    TooManyRequests,
    Gone,
    ConnectTimeout,
    Timeout,
    Resolve,
    Connect,
    Tls,
    RefusedAddress,
    HttpRefused,
    Token,
    Proxy,
    Broken,
    Protocol,
}

impl AttemptClass {
    pub const ALL: [AttemptClass; 18] = [
        AttemptClass::Status2xx,
        AttemptClass::Status3xx,
        AttemptClass::Status4xx,
        AttemptClass::Status5xx,
        AttemptClass::StatusOther,
        AttemptClass::TooManyRequests,
        AttemptClass::Gone,
        AttemptClass::ConnectTimeout,
        AttemptClass::Timeout,
        AttemptClass::Resolve,
        AttemptClass::Connect,
        AttemptClass::Tls,
        AttemptClass::RefusedAddress,
        AttemptClass::HttpRefused,
        AttemptClass::Token,
        AttemptClass::Proxy,
        AttemptClass::Broken,
        AttemptClass::Protocol,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            AttemptClass::Status2xx => "status_2xx",
            AttemptClass::Status3xx => "status_3xx",
            AttemptClass::Status4xx => "status_4xx",
            AttemptClass::Status5xx => "status_5xx",
            AttemptClass::StatusOther => "status_other",
            AttemptClass::TooManyRequests => "too_many_requests",
            AttemptClass::Gone => "gone",
            AttemptClass::ConnectTimeout => "connect_timeout",
            AttemptClass::Timeout => "timeout",
            AttemptClass::Resolve => "resolve",
            AttemptClass::Connect => "connect",
            AttemptClass::Tls => "tls",
            AttemptClass::RefusedAddress => "refused_address",
            AttemptClass::HttpRefused => "http_refused",
            AttemptClass::Token => "token",
            AttemptClass::Proxy => "proxy",
            AttemptClass::Broken => "broken",
            AttemptClass::Protocol => "protocol",
        }
    }

    /// Returns whether the class shows that the endpoint does not work, rather than that it refuses the message.
    pub fn is_endpoint_failure(self) -> bool {
        !matches!(
            self,
            AttemptClass::Status2xx | AttemptClass::Status3xx | AttemptClass::Status4xx | AttemptClass::Gone
        )
    }

    /// Returns whether fewer concurrent calls may help.
    pub fn is_overload(self) -> bool {
        matches!(
            self,
            AttemptClass::Status5xx
                | AttemptClass::TooManyRequests
                | AttemptClass::ConnectTimeout
                | AttemptClass::Timeout
        )
    }
}

/// Classifies the status of a response. `retry_after` is the wait of its Retry-After header, if it has one.
pub(in crate::deliver) fn status(status: u16, retry_after: Option<Duration>) -> (AttemptClass, Verdict) {
    let retry = Verdict::Retry { asked_wait: None };
    let retry_as_asked = Verdict::Retry { asked_wait: retry_after };
    match status {
        200..=299 => (AttemptClass::Status2xx, Verdict::Delivered),
        // Redirects are never followed: the target was not checked when the webhook was written, and a redirected POST
        // may become a GET. The cause may be a temporary problem of a load balancer.
        300..=399 => (AttemptClass::Status3xx, retry),
        // Standard Webhooks: the receiver wants no more messages.
        410 => (AttemptClass::Gone, Verdict::Stop),
        // The endpoint gets more requests than it accepts, and says for how long (RFC 6585).
        429 => (AttemptClass::TooManyRequests, retry_as_asked),
        // Timeouts and "too early" (408, 425) are temporary. The others (a wrong path, a failing signature check, a
        // proxy's refusal) are fixed by people while the schedule runs.
        400..=499 => (AttemptClass::Status4xx, retry),
        // Overloaded or in maintenance, possibly with the time when that ends (RFC 9110, 15.6.4).
        503 => (AttemptClass::Status5xx, retry_as_asked),
        // An error of the receiver.
        500..=599 => (AttemptClass::Status5xx, retry),
        // Not a final status of HTTP. The server that sent it may be replaced by the endpoint's real server.
        _ => (AttemptClass::StatusOther, retry),
    }
}

/// Classifies an attempt without a response. All failures are retried: networks, names, certificates and even the
/// addresses behind a name change.
pub(in crate::deliver) fn failure(failure: &AttemptFailure) -> (AttemptClass, Verdict) {
    let class = match failure {
        AttemptFailure::HttpRefused => AttemptClass::HttpRefused,
        AttemptFailure::Resolve(_) => AttemptClass::Resolve,
        AttemptFailure::RefusedAddress(_) => AttemptClass::RefusedAddress,
        AttemptFailure::Tls(_) => AttemptClass::Tls,
        // An address that does not accept a connection in time may be overloaded. One that refuses it is not.
        AttemptFailure::NoAnswer(_) => AttemptClass::ConnectTimeout,
        AttemptFailure::Connect(reason) if reason.kind() == io::ErrorKind::TimedOut => AttemptClass::ConnectTimeout,
        AttemptFailure::Connect(_) => AttemptClass::Connect,
        AttemptFailure::Timeout(Limit { stage: AttemptStage::Connect, .. }) => AttemptClass::ConnectTimeout,
        // After a timeout or a broken connection the receiver may have processed the message. It recognizes a second
        // one by its id.
        AttemptFailure::Timeout(_) => AttemptClass::Timeout,
        // The endpoint got no request. A problem of its authorization server passes, or people fix the credentials.
        AttemptFailure::NoToken(_) => AttemptClass::Token,
        AttemptFailure::Proxy { .. } => AttemptClass::Proxy,
        AttemptFailure::Broken(_)
        | AttemptFailure::Unprocessed(_)
        | AttemptFailure::Reset(_)
        | AttemptFailure::Http1Required => AttemptClass::Broken,
        AttemptFailure::Protocol(_) => AttemptClass::Protocol,
    };
    (class, Verdict::Retry { asked_wait: None })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_2xx_is_delivered_and_only_410_stops() {
        for code in 0..=999 {
            let (class, verdict) = status(code, None);
            let delivered = verdict == Verdict::Delivered;
            assert_eq!(delivered, (200..300).contains(&code), "{code}");
            assert_eq!(verdict == Verdict::Stop, code == 410, "{code}");
            assert_eq!(class == AttemptClass::Status2xx, delivered, "{code}");
        }
    }

    #[test]
    fn names_and_indexes_of_classes_are_unique() {
        for (index, class) in AttemptClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
            assert_eq!(AttemptClass::ALL.iter().filter(|other| other.as_str() == class.as_str()).count(), 1);
        }
    }

    proptest! {
        #[test]
        fn retry_after_is_honoured_only_for_429_and_503(code: u16, seconds in 0u64..100_000) {
            let asked = Some(Duration::from_secs(seconds));
            let honoured = status(code, asked).1 == Verdict::Retry { asked_wait: asked };
            prop_assert_eq!(honoured, code == 429 || code == 503);
        }
    }
}
