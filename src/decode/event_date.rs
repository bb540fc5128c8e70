//! When a change was made, as precise as its source says it.

use jiff::Timestamp;

use super::EventDate;

impl EventDate {
    /// From RFC 3339 text; another offset than UTC's is converted, and the fraction keeps its digits.
    /// None when the text is no RFC 3339 time or has more than nine digits.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let at = text.parse().ok()?;
        let fraction = text.split_once(['.', ',']).map_or("", |(_, rest)| rest);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        Some(Self { at, digits: digits as u8 })
    }

    /// From nanoseconds since 1970. A source that knows only microseconds writes them as nanoseconds too.
    pub(super) fn from_nanoseconds(count: i64) -> Option<Self> {
        let at = Timestamp::from_nanosecond(count.into()).ok()?;
        Some(Self { at, digits: if count % 1000 == 0 { 6 } else { 9 } })
    }

    /// From microseconds since 1970.
    pub(super) fn from_microseconds(count: i64) -> Option<Self> {
        Some(Self { at: Timestamp::from_microsecond(count).ok()?, digits: 6 })
    }

    /// From milliseconds since 1970; None when that is out of the years that can be written.
    pub(super) fn from_milliseconds(count: i64) -> Option<Self> {
        Some(Self { at: Timestamp::from_millisecond(count).ok()?, digits: 3 })
    }

    /// From a record's own timestamp in Kafka, which is -1 where a producer gave none.
    pub(super) fn from_kafka(timestamp_ms: i64) -> Self {
        Self::from_milliseconds(timestamp_ms.max(0)).unwrap_or(Self { at: Timestamp::UNIX_EPOCH, digits: 3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(date: Option<EventDate>) -> Option<(String, u8)> {
        date.map(|date| (date.at.to_string(), date.digits))
    }

    #[test]
    fn text_is_converted_to_utc_and_keeps_its_digits() {
        for (text, at, digits) in [
            ("2024-02-29T13:14:15Z", "2024-02-29T13:14:15Z", 0),
            ("2024-02-29T13:14:15.10+02:00", "2024-02-29T11:14:15.1Z", 2),
            ("2024-02-29T13:14:15.123456789-00:30", "2024-02-29T13:44:15.123456789Z", 9),
        ] {
            assert_eq!(shown(EventDate::from_rfc3339(text)), Some((at.to_owned(), digits)), "{text}");
        }
        for text in ["yesterday", "2024-02-29", "2024-02-30T00:00:00Z", "2024-02-29T13:14:15.1234567890Z", ""] {
            assert_eq!(EventDate::from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_tell_their_precision() {
        let micros = ("2026-11-23T13:07:40.661329Z".to_owned(), 6);
        assert_eq!(shown(EventDate::from_nanoseconds(1795439260661329000)), Some(micros));
        let nanos = ("2026-11-23T13:07:40.661329001Z".to_owned(), 9);
        assert_eq!(shown(EventDate::from_nanoseconds(1795439260661329001)), Some(nanos));
        assert_eq!(EventDate::from_milliseconds(i64::MAX), None);
        assert_eq!(EventDate::from_kafka(-1).at, Timestamp::UNIX_EPOCH);
        assert_eq!(EventDate::from_kafka(i64::MAX).at, Timestamp::UNIX_EPOCH);
    }
}
