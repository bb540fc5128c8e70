//! Why a call is deferred to the overflow log.

use super::failure_summary::FailureSummary;

/// Why a call is deferred to the overflow log.
pub(super) enum OverflowReason {
    /// The endpoint fails.
    Failing(Option<FailureSummary>),
    /// The lane is full, and the endpoint takes fewer calls than arrive.
    Full,
    /// The call was queued for too long.
    QueuedTooLong,
    /// This instance has no share of the webhook's throttle slots.
    NoShare,
}
