//! The Retry-After header (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime};

/// Parses seconds or an HTTP date in any of its three forms. A date in the past is a wait of zero; an unreadable value
/// is None.
pub(in crate::deliver) fn parse(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit in a u64 count as forever; the schedule limits it.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110, 5.6.7.
    fn then() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn reads_seconds() {
        assert_eq!(parse(b"120", then()), Some(Duration::from_secs(120)));
        assert_eq!(parse(b" 0 ", then()), Some(Duration::ZERO));
        assert_eq!(parse(b"99999999999999999999999", then()), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn reads_all_three_http_date_formats() {
        let earlier = then() - Duration::from_secs(30);
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes(), earlier), Some(Duration::from_secs(30)), "{text}");
            assert_eq!(parse(text.as_bytes(), then() + Duration::from_secs(1)), Some(Duration::ZERO), "{text}");
        }
    }

    #[test]
    fn unreadable_values_are_ignored() {
        for text in ["", "-1", "1.5", "soon", "Sun, 06 Nov", "12 s", "\u{661}"] {
            assert_eq!(parse(text.as_bytes(), then()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(value: Vec<u8>, now in 0u64..10_000_000_000) {
            parse(&value, SystemTime::UNIX_EPOCH + Duration::from_secs(now));
        }

        #[test]
        fn any_number_of_seconds_is_read(seconds: u64) {
            prop_assert_eq!(parse(seconds.to_string().as_bytes(), then()), Some(Duration::from_secs(seconds)));
        }
    }
}
