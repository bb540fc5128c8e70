//! The metadata of a commit: its text → a completion map, and back.

use std::ops::Range;

use outhook::source::{CommitMetadata, CompletionMap, RecordFingerprint};

const CLUSTER: &str = "c";
/// Kafka's default for `offset.metadata.max.bytes`.
const MAX_BYTES: usize = 4096;

/// The bytes are the text of a commit's metadata.
///
/// - A text is read as exactly the numbers that it has. Any other text is not read at all.
/// - An offset counts as settled only if the text has it, and only for a record that is not newer than the map.
/// - What is read is written within the limit, and is read the same again. Only the highest offsets may be dropped.
pub fn completion_map(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (read, expected) = (CommitMetadata::decode(CLUSTER, text), Expected::of(text));
    assert_eq!(read.is_some(), expected.is_some(), "{text:?} is read as {read:?}");
    let (Some(read), Some(expected)) = (read, expected) else { return };
    assert_eq!(read.log_record, expected.log);
    assert_eq!(read.completion_map.is_some(), expected.map.is_some());
    if let (Some(completion), Some(map)) = (&read.completion_map, &expected.map) {
        map.check(completion);
        map.check_offsets(completion);
    }
    check_written(&expected);
}

/// The numbers of a metadata text.
struct Expected {
    log: RecordFingerprint,
    map: Option<ExpectedMap>,
    is_earlier_version: bool,
}

struct ExpectedMap {
    head: RecordFingerprint,
    newest: i64,
    /// Without empty ranges.
    settled: Vec<Range<i64>>,
}

impl Expected {
    /// Reads all digits before it interprets any number.
    fn of(text: &str) -> Option<Self> {
        let digits =
            |version: &str| text.strip_prefix(version)?.strip_prefix(CLUSTER)?.strip_prefix(':')?.strip_suffix('.');
        let (is_earlier_version, digits) = match digits("outhook2:") {
            Some(digits) => (false, digits),
            None => (true, digits("outhook1:")?),
        };
        let numbers = numbers(digits).filter(|_| text.len() <= MAX_BYTES)?;
        let mark = |at: usize| {
            let offset = i64::try_from(*numbers.get(at)?).ok()?;
            Some(RecordFingerprint { offset, timestamp: numbers.get(at + 1)?.cast_signed() })
        };
        let log = mark(0)?;
        if !is_earlier_version && numbers.len() == 2 {
            return Some(Self { log, map: None, is_earlier_version });
        }
        let head_at = if is_earlier_version { 0 } else { 2 };
        let head = mark(head_at)?;
        let newest = numbers.get(head_at + 2)?.cast_signed();
        let pairs = numbers[head_at + 3..].chunks(2);
        let mut end = i128::from(head.offset) + 1;
        let mut settled = Vec::new();
        for pair in pairs {
            let [gap, length] = *pair else { return None };
            let start = end + i128::from(gap);
            end = start + i128::from(length);
            settled.push(i64::try_from(start).ok()?..i64::try_from(end).ok()?);
        }
        i64::try_from(end).ok()?;
        settled.retain(|range| !range.is_empty());
        Some(Self { log, map: Some(ExpectedMap { head, newest, settled }), is_earlier_version })
    }
}

impl ExpectedMap {
    fn check(&self, read: &CompletionMap) {
        assert!(read.starts_at(self.head));
        assert_eq!(read.newest(), self.newest);
        assert!(read.remaining().eq(self.settled.iter().cloned()));
    }

    fn contains(&self, offset: i64) -> bool {
        let at = self.settled.partition_point(|range| range.end <= offset);
        self.settled.get(at).is_some_and(|range| range.contains(&offset))
    }

    /// Asks for the first and last offset of each range and for their neighbours. Then again, with one record that is
    /// newer than the map.
    fn check_offsets(&self, read: &CompletionMap) {
        let mut offsets: Vec<i64> = vec![self.head.offset, self.head.offset + 1, i64::MAX];
        for range in &self.settled {
            let inner = range.start + (range.end - range.start) / 2;
            offsets.extend([range.start - 1, range.start, inner, range.end - 1, range.end]);
        }
        offsets.sort_unstable();
        offsets.dedup();
        let mut map = read.clone();
        for offset in &offsets {
            let record = RecordFingerprint { offset: *offset, timestamp: self.newest };
            assert_eq!(map.take_settled(record), self.contains(*offset), "offset {offset}");
        }
        assert_eq!(map.remaining().count(), 0, "all ranges are passed");

        let Some(newer) = self.newest.checked_add(1) else { return };
        let (mut map, mut is_cleared) = (read.clone(), false);
        let newer_at = offsets.len() / 2;
        for (at, offset) in offsets.iter().enumerate() {
            let record =
                RecordFingerprint { offset: *offset, timestamp: if at == newer_at { newer } else { self.newest } };
            is_cleared |= at == newer_at && self.contains(*offset);
            assert_eq!(map.take_settled(record), !is_cleared && self.contains(*offset), "offset {offset}");
        }
    }
}

/// Numbers of five bits per digit, the lowest first; a digit of 32 or more is not its number's last.
fn numbers(digits: &str) -> Option<Vec<u64>> {
    let (mut numbers, mut number, mut shift) = (Vec::new(), 0_u128, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        if shift > 60 {
            return None;
        }
        number |= u128::from(value % 32) << shift;
        shift += 5;
        if value < 32 {
            numbers.push(u64::try_from(number).ok()?);
            (number, shift) = (0, 0);
        }
    }
    (shift == 0).then_some(numbers)
}

fn check_written(expected: &Expected) {
    let no_map = ExpectedMap { head: expected.log, newest: 0, settled: Vec::new() };
    let ExpectedMap { head, newest, settled } = expected.map.as_ref().unwrap_or(&no_map);
    let text = CommitMetadata::encode(CLUSTER, expected.log, *head, *newest, settled.iter().cloned());
    assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
    let again = CommitMetadata::decode(CLUSTER, &text).expect("written metadata is read");
    assert_eq!(again.log_record, expected.log);
    let ranges: Vec<Range<i64>> = again.completion_map.iter().flat_map(CompletionMap::remaining).collect();
    assert!(settled.starts_with(&ranges), "only the highest offsets are dropped");
    if !expected.is_earlier_version {
        assert_eq!(ranges.len(), settled.len(), "the text that was read has room for all of them");
    }
    if let Some(completion) = again.completion_map {
        assert!(completion.starts_at(*head));
        assert_eq!(completion.newest(), *newest);
    }
    assert_eq!(CommitMetadata::encode(CLUSTER, again.log_record, *head, *newest, ranges.into_iter()), text);
}
