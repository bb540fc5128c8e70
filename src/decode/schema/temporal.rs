//! Dates and times as ISO 8601 text, in quotes: `"2024-02-29"`, `"13:14:15.123456"`, `"2024-02-29T13:14:15"`.
//!
//! They have no zone because their columns have none. A fraction has the digits of the column's unit and is omitted
//! when it is zero. Debezium's `isostring` mode writes the same text with an additional `Z`.
//!
//! Every count is written as text, because a column's JSON type must not depend on its value. Years outside 0 to 9999
//! have a sign, as in ISO 8601 and Debezium's `ZonedTimestamp`. MySQL's TIME may be negative and have more than 24
//! hours. PostgreSQL's infinities have their PostgreSQL names.

use std::fmt::Write;

/// Seconds of a day.
const SECONDS_PER_DAY: i64 = 24 * 3600;

/// The unit of a column's counts.
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

/// PostgreSQL's names, which `ZonedTimestamp` uses too.
const INFINITY: &str = r#""infinity""#;
const MINUS_INFINITY: &str = r#""-infinity""#;

/// Counts that PostgreSQL's connector writes for the dates `infinity` and `-infinity`: days beyond PostgreSQL's last
/// and first date.
const INFINITE_DAYS: [i32; 2] = [2_146_033_979, -2_147_472_691];

/// Counts that it writes for the timestamps `infinity` and `-infinity` in milliseconds: constants of its driver. In
/// other units it writes the highest and the lowest count.
const INFINITE_MILLISECONDS: [i64; 2] = [9_223_372_036_825_200_000, -9_223_372_036_832_400_000];

/// The date `days` after 1970-01-01.
pub(super) fn date(days: i32) -> String {
    match INFINITE_DAYS {
        [infinity, _] if days == infinity => INFINITY.to_owned(),
        [_, minus_infinity] if days == minus_infinity => MINUS_INFINITY.to_owned(),
        _ => {
            let mut text = String::with_capacity(16);
            text.push('"');
            push_date(&mut text, days.into());
            text.push('"');
            text
        }
    }
}

/// The time `count` units after midnight, including PostgreSQL's `24:00:00`. MySQL's TIME is a duration between
/// `-838:59:59` and `838:59:59`.
pub(super) fn time(count: i64, unit: Unit) -> String {
    let mut text = String::with_capacity(20);
    text.push('"');
    if count < 0 {
        text.push('-');
    }
    let (count, per_second) = (count.unsigned_abs(), unit.per_second().unsigned_abs());
    push_time(&mut text, count / per_second, count % per_second, unit);
    text.push('"');
    text
}

/// The date and time `count` units after 1970 began.
pub(super) fn timestamp(count: i64, unit: Unit) -> String {
    let [infinity, minus_infinity] = match unit {
        Unit::Milli => INFINITE_MILLISECONDS,
        Unit::Micro | Unit::Nano => [i64::MAX, i64::MIN],
    };
    if count >= infinity {
        return INFINITY.to_owned();
    }
    if count <= minus_infinity {
        return MINUS_INFINITY.to_owned();
    }
    let (seconds, fraction) = (count.div_euclid(unit.per_second()), count.rem_euclid(unit.per_second()));
    let mut text = String::with_capacity(32);
    text.push('"');
    push_date(&mut text, seconds.div_euclid(SECONDS_PER_DAY));
    text.push('T');
    push_time(&mut text, seconds.rem_euclid(SECONDS_PER_DAY).unsigned_abs(), fraction.unsigned_abs(), unit);
    text.push('"');
    text
}

/// Appends the Gregorian date of a day since 1970, of any year. It counts from March 1 of year 0 in eras of 400
/// years, because then a leap day is the last day of its year.
fn push_date(text: &mut String, days: i64) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let sign = match year {
        ..0 => "-",
        0..=9999 => "",
        _ => "+",
    };
    write!(text, "{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs()).expect("writing to a String can't fail");
}

fn push_time(text: &mut String, seconds: u64, fraction: u64, unit: Unit) {
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
    use jiff::{Timestamp, tz::Offset};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_and_times_are_iso_8601() {
        assert_eq!(date(19782), r#""2024-02-29""#);
        assert_eq!(date(-1), r#""1969-12-31""#);
        assert_eq!(time(47655123456, Unit::Micro), r#""13:14:15.123456""#);
        assert_eq!(time(47655003, Unit::Milli), r#""13:14:15.003""#);
        assert_eq!(time(86_400_000_000, Unit::Micro), r#""24:00:00""#);
        assert_eq!(timestamp(1709212455123456, Unit::Micro), r#""2024-02-29T13:14:15.123456""#);
        assert_eq!(timestamp(1709212455123, Unit::Milli), r#""2024-02-29T13:14:15.123""#);
        assert_eq!(timestamp(1709251200000000, Unit::Micro), r#""2024-03-01T00:00:00""#);
        assert_eq!(timestamp(-1, Unit::Nano), r#""1969-12-31T23:59:59.999999999""#);
    }

    /// As PostgreSQL's and MySQL's connectors write them.
    #[test]
    fn extreme_and_infinite_temporal_values_are_text() {
        for (days, text) in [
            (2146033979, "infinity"),
            (-2147472691, "-infinity"),
            (-735160, "-0043-03-15"),
            (6585322, "+20000-01-01"),
            (2145042905, "+5874897-12-31"),
            (-719528, "0000-01-01"),
            (-719529, "-0001-12-31"),
            (2932896, "9999-12-31"),
            (2932897, "+10000-01-01"),
        ] {
            assert_eq!(date(days), format!("{text:?}"), "{days}");
        }
        for (count, unit, text) in [
            (i64::MAX, Unit::Micro, "infinity"),
            (i64::MIN, Unit::Micro, "-infinity"),
            (9223372036825200000, Unit::Milli, "infinity"),
            (-9223372036832400000, Unit::Milli, "-infinity"),
            (-63517824000000000, Unit::Micro, "-0043-03-15T00:00:00"),
            (568971820800000000, Unit::Micro, "+20000-01-01T00:00:00"),
            (253402300799999, Unit::Milli, "9999-12-31T23:59:59.999"),
        ] {
            assert_eq!(timestamp(count, unit), format!("{text:?}"), "{count}");
        }
        for (count, unit, text) in [
            (-3_020_399_000_000, Unit::Micro, "-838:59:59"),
            (3_020_399_000_000, Unit::Micro, "838:59:59"),
            (-1, Unit::Micro, "-00:00:00.000001"),
            (86_400_000_001, Unit::Micro, "24:00:00.000001"),
            (-500, Unit::Milli, "-00:00:00.500"),
        ] {
            assert_eq!(time(count, unit), format!("{text:?}"), "{count}");
        }
    }

    proptest! {
        /// For years that both can write, the date equals that of the time library.
        #[test]
        fn dates_agree_with_the_time_library(second in -62_167_219_200..=253_402_207_199_i64) {
            let utc = Offset::UTC.to_datetime(Timestamp::from_second(second).unwrap());
            prop_assert_eq!(timestamp(second * 1000, Unit::Milli), format!("\"{utc}\""));
            let day = i32::try_from(second.div_euclid(SECONDS_PER_DAY)).unwrap();
            prop_assert_eq!(date(day), format!("\"{}\"", utc.date()));
        }

        #[test]
        fn every_count_is_written_as_one_json_string(days: i32, count: i64) {
            let is_text = |json: &str| serde_json::from_str::<String>(json).is_ok();
            prop_assert!(is_text(&date(days)));
            for unit in [Unit::Milli, Unit::Micro, Unit::Nano] {
                prop_assert!(is_text(&time(count, unit)));
                prop_assert!(is_text(&timestamp(count, unit)));
            }
        }
    }
}
