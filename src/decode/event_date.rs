//! Date of a change, with the precision of its source.

use jiff::Timestamp;

use super::{EventDate, Input};

impl EventDate {
    /// From RFC 3339 text. Converts other offsets to UTC and keeps the number of the fraction's digits. Ignores the
    /// annotations in brackets that RFC 9557 allows behind the time. None if the text is not an RFC 3339 time, or if
    /// the fraction has more than nine digits.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let at = text.parse().ok()?;
        let (time, _) = text.split_once('[').unwrap_or((text, ""));
        let fraction = time.split_once(['.', ',']).map_or("", |(_, rest)| rest);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        Some(Self { at, fraction_digits: digits as u8 })
    }

    /// From nanoseconds since 1970. Six digits if the last three are zero, because a source that knows only
    /// microseconds writes nanoseconds too.
    pub(super) fn from_nanoseconds(count: i64) -> Option<Self> {
        let at = Timestamp::from_nanosecond(count.into()).ok()?;
        Some(Self { at, fraction_digits: if count % 1000 == 0 { 6 } else { 9 } })
    }

    /// From microseconds since 1970.
    pub(super) fn from_microseconds(count: i64) -> Option<Self> {
        Some(Self { at: Timestamp::from_microsecond(count).ok()?, fraction_digits: 6 })
    }

    /// From milliseconds since 1970; None if the year can't be written.
    pub(super) fn from_milliseconds(count: i64) -> Option<Self> {
        Some(Self { at: Timestamp::from_millisecond(count).ok()?, fraction_digits: 3 })
    }

    /// From a record's Kafka timestamp, which is in milliseconds. Some producers write another unit. The number's
    /// size shows the unit, because no record is dated before 1973 or after 5138. The date must not depend on when
    /// the record is read: a record that is read again must not become newer than its row's next change. A record
    /// without a timestamp gets the oldest date, 1970-01-01.
    pub(super) fn from_kafka(timestamp: i64) -> Self {
        let date = match timestamp {
            ..=0 => None,
            1..MIN_MILLISECONDS => Timestamp::from_second(timestamp).ok().map(|at| Self { at, fraction_digits: 0 }),
            MIN_MILLISECONDS..MIN_MICROSECONDS => Self::from_milliseconds(timestamp),
            MIN_MICROSECONDS..MIN_NANOSECONDS => Self::from_microseconds(timestamp),
            MIN_NANOSECONDS.. => Self::from_nanoseconds(timestamp),
        };
        date.unwrap_or(Self { at: Timestamp::UNIX_EPOCH, fraction_digits: 3 })
    }
}

/// Lowest timestamp that is read as milliseconds since 1970; lower ones are seconds.
const MIN_MILLISECONDS: i64 = 100_000_000_000;
const MIN_MICROSECONDS: i64 = MIN_MILLISECONDS * 1000;
const MIN_NANOSECONDS: i64 = MIN_MICROSECONDS * 1000;

impl Input<'_> {
    /// Whether the record's timestamp can be in Kafka's unit, milliseconds since 1970.
    pub fn has_plausible_timestamp(&self) -> bool {
        (MIN_MILLISECONDS..MIN_MICROSECONDS).contains(&self.timestamp_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(date: Option<EventDate>) -> Option<(String, u8)> {
        date.map(|date| (date.at.to_string(), date.fraction_digits))
    }

    #[test]
    fn rfc3339_text_is_converted_to_utc_and_keeps_its_precision() {
        for (text, at, digits) in [
            ("2024-02-29T13:14:15Z", "2024-02-29T13:14:15Z", 0),
            ("2024-02-29T13:14:15.10+02:00", "2024-02-29T11:14:15.1Z", 2),
            ("2024-02-29T13:14:15.123456789-00:30", "2024-02-29T13:44:15.123456789Z", 9),
            ("2024-02-29T13:14:15Z[a.1234567890123]", "2024-02-29T13:14:15Z", 0),
        ] {
            assert_eq!(shown(EventDate::from_rfc3339(text)), Some((at.to_owned(), digits)), "{text}");
        }
        for text in ["yesterday", "2024-02-29", "2024-02-30T00:00:00Z", "2024-02-29T13:14:15.1234567890Z", ""] {
            assert_eq!(EventDate::from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn precision_is_inferred_from_numeric_timestamps() {
        let micros = ("2026-11-23T13:07:40.661329Z".to_owned(), 6);
        assert_eq!(shown(EventDate::from_nanoseconds(1795439260661329000)), Some(micros));
        let nanos = ("2026-11-23T13:07:40.661329001Z".to_owned(), 9);
        assert_eq!(shown(EventDate::from_nanoseconds(1795439260661329001)), Some(nanos));
        assert_eq!(EventDate::from_milliseconds(i64::MAX), None);
    }

    #[test]
    fn unit_of_a_kafka_timestamp_is_detected() {
        for (timestamp, at, digits) in [
            (1_709_212_455_123, "2024-02-29T13:14:15.123Z", 3),
            (1_709_212_455, "2024-02-29T13:14:15Z", 0),
            (1_709_212_455_123_456, "2024-02-29T13:14:15.123456Z", 6),
            (1_709_212_455_123_456_789, "2024-02-29T13:14:15.123456789Z", 9),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z", 9),
            (0, "1970-01-01T00:00:00Z", 3),
            (-1, "1970-01-01T00:00:00Z", 3),
            (i64::MIN, "1970-01-01T00:00:00Z", 3),
        ] {
            assert_eq!(shown(Some(EventDate::from_kafka(timestamp))), Some((at.to_owned(), digits)), "{timestamp}");
        }
    }
}
