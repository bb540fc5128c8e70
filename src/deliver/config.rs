//! How calls are made: the `[delivery]` section.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

/// How calls are made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long an attempt may take as a whole. Default 20s.
    #[serde(with = "duration::required")]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20) }
    }
}

impl Config {
    /// Finds settings that contradict each other or can't work.
    ///
    /// # Errors
    /// A sentence that names the settings, their values and the mend.
    pub fn check(&self) -> Result<(), String> {
        if self.timeout.is_zero() {
            return Err("delivery.timeout is 0s, so no call could ever succeed: give it a value over 0".to_owned());
        }
        Ok(())
    }
}
