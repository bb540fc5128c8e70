//! Why an endpoint fails, and for how long.

use std::time::Duration;

use super::FailureCause;

/// Why an endpoint fails, and for how long it has only failed.
#[derive(Debug, Clone)]
pub(super) struct FailureSummary {
    pub cause: FailureCause,
    pub duration: Duration,
}
