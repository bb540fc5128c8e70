//! A count as a record of the topic. The key is `count/<event>/<hour>/<run>`, with the hour as hours since 1970. The
//! value is the numbers as JSON. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::EventId;
use crate::rules::Totals;

/// Prefix of the keys of counts.
pub(super) const COUNT_PREFIX: &str = "count/";

/// One run of an instance, from its start to its end: a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// All that one run has counted of one event in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HourCount {
    pub event: EventId,
    /// Hours since 1970.
    pub hour: u32,
    pub run: RunId,
    pub totals: Totals,
}

/// A record is not a count. The text says why.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidCount {
    #[error("the key is not count/<event>/<hour>/<run>")]
    Key,
    #[error(transparent)]
    Value(#[from] serde_json::Error),
}

/// Numbers of a record as JSON. Unknown keys of a newer version are ignored.
#[derive(Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct CountValue {
    messages: u64,
    calls: u64,
    errors: u64,
}

impl HourCount {
    pub fn key(&self) -> String {
        format!("{COUNT_PREFIX}{}/{}/{}", self.event, self.hour, self.run)
    }

    pub fn value(&self) -> String {
        let Totals { messages, calls, errors } = self.totals;
        serde_json::to_string(&CountValue { messages, calls, errors }).expect("numbers are JSON")
    }

    /// Parses a record. `key` is the part after [`COUNT_PREFIX`].
    ///
    /// # Errors
    /// The record is not a count.
    pub fn parse(key: &str, value: &[u8]) -> Result<Self, InvalidCount> {
        let mut parts = key.split('/');
        let (Some(event), Some(hour), Some(run), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidCount::Key);
        };
        let event = event.parse().map_err(|_| InvalidCount::Key)?;
        let hour = hour.parse().map_err(|_| InvalidCount::Key)?;
        let run = RunId(u64::from_str_radix(run, 16).map_err(|_| InvalidCount::Key)?);
        let CountValue { messages, calls, errors } = serde_json::from_slice(value)?;
        Ok(Self { event, hour, run, totals: Totals { messages, calls, errors } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_round_trips_through_its_record() {
        let totals = Totals { messages: 1, calls: 2, errors: u64::MAX };
        let count = HourCount { event: "abc123".parse().unwrap(), hour: 489_000, run: RunId(7), totals };
        assert_eq!(count.key(), "count/abc123/489000/0000000000000007");
        assert_eq!(count.value(), r#"{"messages":1,"calls":2,"errors":18446744073709551615}"#);
        assert_eq!(HourCount::parse(&count.key()[COUNT_PREFIX.len()..], count.value().as_bytes()).unwrap(), count);
        let newer = br#"{"messages":1,"calls":2,"errors":18446744073709551615,"more":[]}"#;
        assert_eq!(HourCount::parse("abc123/489000/7", newer).unwrap(), count);
    }

    #[test]
    fn invalid_count_records_are_rejected() {
        for key in ["", "abc123", "abc123/1", "abc123/1/7/9", "abc/1/7", "abc123/-1/7", "abc123/1/x"] {
            assert!(HourCount::parse(key, b"{}").is_err(), "{key}");
        }
        for value in ["", "7", r#"{"messages":-1}"#, "{\"messages\":1.5}"] {
            assert!(HourCount::parse("abc123/1/7", value.as_bytes()).is_err(), "{value}");
        }
    }
}
