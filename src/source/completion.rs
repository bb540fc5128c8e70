//! The completion map: what has settled of a partition beyond its committed offset, as text for a commit's metadata.
//!
//! `outhook1:<cluster>:<numbers>.` The numbers are base64 digits of five bits each, least first, with a sixth bit that
//! says that the number goes on: mostly one character each, where bytes in base64 would take one and a third. First the
//! record that holds the prefix back, as offset and timestamp, then the newest timestamp, then by turns how many
//! offsets have not settled and how many have. Whatever else stands in the metadata is no map.

use std::collections::VecDeque;
use std::ops::Range;

/// Kafka's default for `offset.metadata.max.bytes`.
const MAX_BYTES: usize = 4096;

/// Its digit is the version: another way to write a map, or to mean it, gets another.
const PREFIX: &str = "outhook1:";
/// Without it a text that was cut would be a shorter map.
const END: char = '.';

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DIGIT_BITS: u32 = 5;
/// A digit from here on is not its number's last.
const GOES_ON: u64 = 1 << DIGIT_BITS;

/// Which record of a log: another log has at the same offset, if anything, a record of another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub offset: i64,
    /// Milliseconds since 1970, as Kafka keeps it.
    pub timestamp: i64,
}

/// What has settled beyond the first record that has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The record that holds the prefix back: whoever goes on with this log reads it first.
    head: Mark,
    /// No record that is meant has a later timestamp.
    newest: i64,
    /// Settled offsets, in order and apart. A range also holds offsets that have no record.
    settled: VecDeque<Range<i64>>,
}

impl Completion {
    /// Writes a map of ranges that are in order and apart, all beyond `head`; empty text if there are none. What does
    /// not fit is left out, the highest offsets first.
    pub fn encode(cluster: &str, head: Mark, newest: i64, settled: impl Iterator<Item = Range<i64>>) -> String {
        let mut text = format!("{PREFIX}{cluster}:");
        push_number(&mut text, head.offset.cast_unsigned());
        push_number(&mut text, head.timestamp.cast_unsigned());
        push_number(&mut text, newest.cast_unsigned());
        let empty = text.len();
        let mut behind = head.offset + 1;
        for range in settled {
            let fits = text.len();
            push_number(&mut text, (range.start - behind).cast_unsigned());
            push_number(&mut text, (range.end - range.start).cast_unsigned());
            if text.len() + END.len_utf8() > MAX_BYTES {
                text.truncate(fits);
                break;
            }
            behind = range.end;
        }
        if text.len() == empty {
            return String::new();
        }
        text.push(END);
        text
    }

    /// Reads a map of this cluster; None for whatever else the text is.
    pub fn decode(cluster: &str, text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_BYTES)?;
        let numbers = text.strip_prefix(PREFIX)?.strip_prefix(cluster)?.strip_prefix(':')?.strip_suffix(END)?;
        let mut digits = numbers.as_bytes();
        let head = Mark {
            offset: i64::try_from(take_number(&mut digits)?).ok()?,
            timestamp: take_number(&mut digits)?.cast_signed(),
        };
        let newest = take_number(&mut digits)?.cast_signed();
        let mut settled = VecDeque::new();
        let mut behind = head.offset.checked_add(1)?;
        while !digits.is_empty() {
            let start = behind.checked_add_unsigned(take_number(&mut digits)?)?;
            let end = start.checked_add_unsigned(take_number(&mut digits)?)?;
            settled.push_back(start..end);
            behind = end;
        }
        Some(Self { head, newest, settled })
    }

    /// Whether this is a map of the log in which `first` is the first record that comes after the committed offset.
    pub fn begins_with(&self, first: Mark) -> bool {
        self.head == first
    }

    /// Whether a record has settled. To be asked in the order of offsets: what lies behind is forgotten. All of it is
    /// forgotten when the record is newer than the map: then the log was cut, and its offsets were given anew.
    pub fn has(&mut self, record: Mark) -> bool {
        while self.settled.front().is_some_and(|range| range.end <= record.offset) {
            self.settled.pop_front();
        }
        let Some(range) = self.settled.front_mut().filter(|range| range.contains(&record.offset)) else { return false };
        if record.timestamp > self.newest {
            self.settled.clear();
            return false;
        }
        range.start = record.offset + 1;
        true
    }

    /// What [`Completion::has`] was not asked about yet.
    pub fn remaining(&self) -> impl Iterator<Item = Range<i64>> {
        self.settled.iter().filter(|range| !range.is_empty()).cloned()
    }

    /// The latest timestamp that a record of the map can have.
    pub fn newest(&self) -> i64 {
        self.newest
    }
}

fn push_number(text: &mut String, mut number: u64) {
    loop {
        let rest = number >> DIGIT_BITS;
        let digit = number % GOES_ON + if rest > 0 { GOES_ON } else { 0 };
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
        let bits = digit % GOES_ON;
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if digit < GOES_ON {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
