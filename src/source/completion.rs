//! Commit metadata: a record that identifies the log, and the completion map, which has the settled offsets of the
//! partition beyond the committed one.
//!
//! The format is `outhook2:<cluster>:<numbers>.` The numbers are base64 digits of five bits each, least significant
//! first. The sixth bit of a digit says that more digits follow. Most numbers take one character, where bytes in
//! base64 would take one and a third. The first numbers are a record of the log, as offset and timestamp. If there is
//! a map, it follows: the record that holds the prefix back, as offset and timestamp; the newest timestamp; then
//! alternately the number of unsettled and of settled offsets. `outhook1` has only the map, and its first record also
//! identifies the log. Any other metadata is ignored.

use std::collections::VecDeque;
use std::ops::Range;

/// Kafka's default for `offset.metadata.max.bytes`.
const MAX_BYTES: usize = 4096;

/// The digit is the version. A change of a map's format or meaning needs a new version.
const PREFIX: &str = "outhook2:";
const PREFIX_V1: &str = "outhook1:";
/// The end mark. Without it a truncated text would be read as a shorter map.
const END_MARK: char = '.';

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DIGIT_BITS: u32 = 5;
/// A digit of at least this value is not its number's last digit.
const CONTINUATION_BIT: u64 = 1 << DIGIT_BITS;

/// Identifies a record of a log. At the same offset another log has no record, or one with another timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFingerprint {
    pub offset: i64,
    /// Kafka's timestamp, milliseconds since 1970.
    pub timestamp: i64,
}

/// The metadata of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitMetadata {
    /// A record of the log, usually the last one before the committed offset.
    pub log_record: RecordFingerprint,
    pub completion_map: Option<CompletionMap>,
}

/// The completion map: offsets that have settled beyond the first unsettled record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionMap {
    /// The record that holds the prefix back. The next owner of the partition reads it first.
    head: RecordFingerprint,
    /// The latest timestamp that a record of the map can have.
    newest_timestamp: i64,
    /// Settled offsets, as ordered ranges that do not touch. A range also contains offsets without a record.
    settled: VecDeque<Range<i64>>,
}

impl CommitMetadata {
    /// Encodes the metadata of a commit. `settled` has the map's ranges: ordered, not touching, and all beyond
    /// `head`. Without ranges there is no map. Ranges that do not fit are dropped, the highest offsets first.
    pub fn encode(
        cluster: &str,
        log: RecordFingerprint,
        head: RecordFingerprint,
        newest: i64,
        settled: impl Iterator<Item = Range<i64>>,
    ) -> String {
        let mut text = format!("{PREFIX}{cluster}:");
        push_fingerprint(&mut text, log);
        let without_map = text.len();
        push_fingerprint(&mut text, head);
        push_number(&mut text, newest.cast_unsigned());
        let empty = text.len();
        // Metadata that was read may have the largest offset as its record of the log. No range is behind that.
        let mut behind = head.offset.saturating_add(1);
        for range in settled {
            let fits = text.len();
            push_number(&mut text, (range.start - behind).cast_unsigned());
            push_number(&mut text, (range.end - range.start).cast_unsigned());
            if text.len() + END_MARK.len_utf8() > MAX_BYTES {
                text.truncate(fits);
                break;
            }
            behind = range.end;
        }
        if text.len() == empty {
            text.truncate(without_map);
        }
        text.push(END_MARK);
        text
    }

    /// Decodes the metadata of a commit of this cluster; None for any other text.
    pub fn decode(cluster: &str, text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_BYTES)?;
        let (is_earlier, rest) = match text.strip_prefix(PREFIX) {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix(PREFIX_V1)?),
        };
        let numbers = rest.strip_prefix(cluster)?.strip_prefix(':')?.strip_suffix(END_MARK)?;
        let mut digits = numbers.as_bytes();
        let log = take_fingerprint(&mut digits)?;
        if !is_earlier && digits.is_empty() {
            return Some(Self { log_record: log, completion_map: None });
        }
        let head = if is_earlier { log } else { take_fingerprint(&mut digits)? };
        let newest = take_number(&mut digits)?.cast_signed();
        let mut settled = VecDeque::new();
        let mut behind = head.offset.checked_add(1)?;
        while !digits.is_empty() {
            let start = behind.checked_add_unsigned(take_number(&mut digits)?)?;
            let end = start.checked_add_unsigned(take_number(&mut digits)?)?;
            settled.push_back(start..end);
            behind = end;
        }
        Some(Self { log_record: log, completion_map: Some(CompletionMap { head, newest_timestamp: newest, settled }) })
    }
}

impl CompletionMap {
    /// Whether this map is of the log in which `first` is the first record at or after the committed offset.
    pub fn starts_at(&self, first: RecordFingerprint) -> bool {
        self.head == first
    }

    /// Whether a record has settled. Must be called in the order of offsets, because earlier offsets are forgotten.
    /// The whole map is cleared if the record is newer than the map: then the log was truncated and its offsets were
    /// reused.
    pub fn take_settled(&mut self, record: RecordFingerprint) -> bool {
        while self.settled.front().is_some_and(|range| range.end <= record.offset) {
            self.settled.pop_front();
        }
        let Some(range) = self.settled.front_mut().filter(|range| range.contains(&record.offset)) else { return false };
        if record.timestamp > self.newest_timestamp {
            self.settled.clear();
            return false;
        }
        range.start = record.offset + 1;
        true
    }

    /// The ranges that [`CompletionMap::take_settled`] was not called for yet.
    pub fn remaining(&self) -> impl Iterator<Item = Range<i64>> {
        self.settled.iter().filter(|range| !range.is_empty()).cloned()
    }

    /// The latest timestamp that a record of the map can have.
    pub fn newest(&self) -> i64 {
        self.newest_timestamp
    }
}

fn push_fingerprint(text: &mut String, fingerprint: RecordFingerprint) {
    push_number(text, fingerprint.offset.cast_unsigned());
    push_number(text, fingerprint.timestamp.cast_unsigned());
}

fn take_fingerprint(digits: &mut &[u8]) -> Option<RecordFingerprint> {
    let offset = i64::try_from(take_number(digits)?).ok()?;
    Some(RecordFingerprint { offset, timestamp: take_number(digits)?.cast_signed() })
}

fn push_number(text: &mut String, mut number: u64) {
    loop {
        let rest = number >> DIGIT_BITS;
        let digit = number % CONTINUATION_BIT + if rest > 0 { CONTINUATION_BIT } else { 0 };
        text.push(char::from(DIGITS[digit as usize]));
        if rest == 0 {
            return;
        }
        number = rest;
    }
}

fn take_number(digits: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(DIGIT_BITS as usize) {
        let (first, rest) = digits.split_first()?;
        let digit = DIGITS.iter().position(|digit| digit == first)? as u64;
        *digits = rest;
        let bits = digit % CONTINUATION_BIT;
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if digit < CONTINUATION_BIT {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
