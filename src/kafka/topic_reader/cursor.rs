//! Where a page of a topic begins, as a text that is opaque to clients.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// For each partition, in order, the offset below which all records are still to be scanned.
///
/// Its text has only characters that need no escaping in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCursor(Vec<i64>);

/// A text that is not a cursor, or a cursor of another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the cursor of an earlier page: omit it to begin with the newest record")]
pub struct BadCursor;

/// Prefix of a cursor's text, which distinguishes future forms.
const FORMAT_PREFIX: &str = "1:";

impl TopicCursor {
    pub(super) fn new(positions: Vec<i64>) -> Self {
        Self(positions)
    }

    /// The positions in a topic with this many partitions. A partition that was added later has only records newer
    /// than the first page: its position is its start.
    ///
    /// # Errors
    /// It has positions of partitions that the topic does not have.
    pub(super) fn positions(&self, partitions: usize) -> Result<Vec<i64>, BadCursor> {
        if self.0.len() > partitions {
            return Err(BadCursor);
        }
        let mut positions = self.0.clone();
        positions.resize(partitions, 0);
        Ok(positions)
    }
}

impl fmt::Display for TopicCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions: Vec<String> = self.0.iter().map(i64::to_string).collect();
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{FORMAT_PREFIX}{}", positions.join(","))))
    }
}

impl FromStr for TopicCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let positions =
            std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_prefix(FORMAT_PREFIX)).ok_or(BadCursor)?;
        let position = |text: &str| text.parse().ok().filter(|position: &i64| *position >= 0).ok_or(BadCursor);
        positions.split(',').map(position).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursor_round_trips_through_its_text(positions in vec(0..=i64::MAX, 1..20)) {
            let cursor = TopicCursor::new(positions.clone());
            let text = cursor.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            prop_assert_eq!(text.parse::<TopicCursor>(), Ok(cursor.clone()));
            prop_assert_eq!(cursor.positions(positions.len()), Ok(positions.clone()));
            prop_assert_eq!(cursor.positions(positions.len() - 1), Err(BadCursor));
            prop_assert_eq!(cursor.positions(positions.len() + 2).unwrap()[positions.len()..].to_vec(), vec![0, 0]);
        }

        #[test]
        fn other_text_is_rejected_without_a_panic(text in ".{0,60}", inside in "(1:)?[0-9,:-]{0,12}") {
            prop_assert!(text.parse::<TopicCursor>().is_err());
            if let Ok(cursor) = URL_SAFE_NO_PAD.encode(&inside).parse::<TopicCursor>() {
                prop_assert!(cursor.0.iter().all(|position| *position >= 0), "{:?}", cursor);
            }
        }
    }

    #[test]
    fn missing_or_negative_cursor_positions_are_rejected() {
        for inside in ["1:", "1:-1", "1:1,", "2:1", "1", "", "1:9223372036854775808"] {
            assert_eq!(URL_SAFE_NO_PAD.encode(inside).parse::<TopicCursor>(), Err(BadCursor), "{inside}");
        }
    }
}
