//! The time now, as numbers since 1970.

use std::time::{Duration, SystemTime};

/// Time since 1970-01-01 UTC; zero if the clock is before it.
pub fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// Milliseconds since 1970, the unit of Kafka's timestamps.
pub fn now_ms() -> i64 {
    since_1970().as_millis() as i64
}
