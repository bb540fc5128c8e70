//! Dates and times as ISO 8601 text, in quotes: `"2024-02-29"`, `"13:14:15.123456"`, `"2024-02-29T13:14:15"`.
//!
//! They have no zone because their columns have none. A fraction has the digits of the column's unit and is
//! left out when it is zero; that is how Debezium's own `isostring` mode writes them, but for the `Z` which it adds.
//! Years are those that RFC 3339 can write, 0 to 9999; what lies beyond stays as it came.

use std::fmt::Write;

use jiff::{Timestamp, tz::Offset};

/// Seconds of a day.
const DAY: i64 = 24 * 3600;

/// What a column counts in.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Milli,
    Micro,
    Nano,
}

impl Unit {
    fn per_second(self) -> i64 {
        match self {
            Self::Milli => 1_000,
            Self::Micro => 1_000_000,
            Self::Nano => 1_000_000_000,
        }
    }

    /// Digits of a second's fraction.
    fn digits(self) -> usize {
        match self {
            Self::Milli => 3,
            Self::Micro => 6,
            Self::Nano => 9,
        }
    }
}

/// The date so many days after 1970-01-01.
pub(super) fn date(days: i64) -> Option<String> {
    let mut text = String::with_capacity(12);
    text.push('"');
    push_date(&mut text, days.checked_mul(DAY)?)?;
    text.push('"');
    Some(text)
}

/// The time of day so long after midnight; 24:00:00, which PostgreSQL knows, included.
pub(super) fn time(count: i64, unit: Unit) -> Option<String> {
    let seconds = count.div_euclid(unit.per_second());
    if count < 0 || count > DAY * unit.per_second() {
        return None;
    }
    let mut text = String::with_capacity(20);
    text.push('"');
    push_time(&mut text, seconds, count.rem_euclid(unit.per_second()), unit);
    text.push('"');
    Some(text)
}

/// The date and time so long after 1970 began.
pub(super) fn timestamp(count: i64, unit: Unit) -> Option<String> {
    let seconds = count.div_euclid(unit.per_second());
    let mut text = String::with_capacity(32);
    text.push('"');
    push_date(&mut text, seconds)?;
    text.push('T');
    push_time(&mut text, seconds.rem_euclid(DAY), count.rem_euclid(unit.per_second()), unit);
    text.push('"');
    Some(text)
}

/// The date of a second since 1970.
fn push_date(text: &mut String, second: i64) -> Option<()> {
    let date = Offset::UTC.to_datetime(Timestamp::from_second(second).ok()?).date();
    if date.year() < 0 {
        return None;
    }
    write!(text, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day()).ok()
}

fn push_time(text: &mut String, seconds: i64, fraction: i64, unit: Unit) {
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let written = if fraction == 0 {
        write!(text, "{hour:02}:{minute:02}:{second:02}")
    } else {
        write!(text, "{hour:02}:{minute:02}:{second:02}.{fraction:0width$}", width = unit.digits())
    };
    written.expect("writing to a String can't fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_and_times_are_iso_8601() {
        assert_eq!(date(19782).as_deref(), Some(r#""2024-02-29""#));
        assert_eq!(date(-1).as_deref(), Some(r#""1969-12-31""#));
        assert_eq!(time(47655123456, Unit::Micro).as_deref(), Some(r#""13:14:15.123456""#));
        assert_eq!(time(47655003, Unit::Milli).as_deref(), Some(r#""13:14:15.003""#));
        assert_eq!(time(86_400_000_000, Unit::Micro).as_deref(), Some(r#""24:00:00""#));
        assert_eq!(timestamp(1709212455123456, Unit::Micro).as_deref(), Some(r#""2024-02-29T13:14:15.123456""#));
        assert_eq!(timestamp(1709212455123, Unit::Milli).as_deref(), Some(r#""2024-02-29T13:14:15.123""#));
        assert_eq!(timestamp(1709251200000000, Unit::Micro).as_deref(), Some(r#""2024-03-01T00:00:00""#));
        assert_eq!(timestamp(-1, Unit::Nano).as_deref(), Some(r#""1969-12-31T23:59:59.999999999""#));
    }

    #[test]
    fn what_cannot_be_written_stays_as_it_came() {
        // Infinity, minus infinity, 15 March 44 BC and the year 20000 as PostgreSQL's connector writes them.
        for days in [2146033979, -2147472691, -735160, 6585322] {
            assert_eq!(date(days), None, "{days}");
        }
        for micros in [i64::MAX, i64::MIN, -63517824000000000, 568971820800000000] {
            assert_eq!(timestamp(micros, Unit::Micro), None, "{micros}");
        }
        // MySQL's time is a duration.
        assert_eq!(time(-1, Unit::Micro), None);
        assert_eq!(time(86_400_000_001, Unit::Micro), None);
    }

    proptest! {
        #[test]
        fn no_number_panics(count: i64) {
            date(count);
            for unit in [Unit::Milli, Unit::Micro, Unit::Nano] {
                time(count, unit);
                timestamp(count, unit);
            }
        }
    }
}
