//! How calls are made: the `[delivery]` section.

use std::time::Duration;

/// How calls are made.
#[derive(Debug, Clone)]
pub struct Config {
    pub timeout: Duration,
}
