//! Retention times, as written in configurations.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// Parses a duration that may be in days, each of 24 hours.
///
/// # Errors
/// The text is not a duration, or it is negative.
pub fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let bad = || D::Error::custom("not a duration in days or shorter units, such as 7d or 36h");
    let text = String::deserialize(deserializer).map_err(|_| bad())?;
    let duration = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    let duration = duration.ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(bad)
}
