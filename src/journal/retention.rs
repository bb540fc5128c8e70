//! How long records are kept, as configurations say it.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// Reads a duration that may be in days, each of 24 hours.
///
/// # Errors
/// It is no duration, or a negative one.
pub fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let span = Span::deserialize(deserializer)?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(D::Error::custom)?;
    Duration::try_from(duration).map_err(D::Error::custom)
}
