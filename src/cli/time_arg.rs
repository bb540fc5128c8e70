//! Times on a command line.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// A text that is not a time in any of the forms that [`moment`] parses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: use 2026-11-24T15:00:00Z, 2026-11-24, or an age such as 90m or 2d")]
pub(in crate::cli) struct BadTime(String);

/// Parses a time of RFC 3339, a date or time without a zone, which is UTC, or an age: `90m`, `2d`.
///
/// # Errors
/// The text has none of these forms. The error shows them.
pub(in crate::cli) fn moment(text: &str) -> Result<Timestamp, BadTime> {
    parse_time(text, Timestamp::now()).ok_or_else(|| BadTime(text.to_owned()))
}

fn parse_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return TimeZone::UTC.to_timestamp(at).ok();
    }
    let ago = text.parse::<Span>().ok()?.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    if ago.is_negative() { None } else { now.checked_sub(ago).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_argument_is_a_timestamp_or_an_age() {
        let now: Timestamp = "2026-11-24T15:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-01T10:00:00+01:00", "2026-11-01T09:00:00Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01 10:30", "2026-11-01T10:30:00Z"),
            ("90m", "2026-11-24T13:30:00Z"),
            ("2d", "2026-11-22T15:00:00Z"),
            ("1h 30m", "2026-11-24T13:30:00Z"),
        ] {
            assert_eq!(parse_time(text, now), Some(expected.parse().unwrap()), "{text}");
        }
        for bad in ["", "yesterday", "5", "-2h", "2026-13-01", "9999999d"] {
            assert_eq!(parse_time(bad, now), None, "{bad}");
        }
    }
}
