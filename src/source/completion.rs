//! A commit's metadata: a record that tells the log from another of its name, and the completion map, which is what has
//! settled of the partition beyond the committed offset.
//!
//! `outhook2:<cluster>:<numbers>.` The numbers are base64 digits of five bits each, least first, with a sixth bit that
//! says that the number goes on: mostly one character each, where bytes in base64 would take one and a third. First a
//! record of the log, as offset and timestamp. If there is a map, then the record that holds the prefix back, likewise,
//! the newest timestamp, and by turns how many offsets have not settled and how many have. `outhook1` has only the map,
//! whose first record is one of the log too. Whatever else stands in the metadata tells nothing.

use std::collections::VecDeque;
use std::ops::Range;

/// Kafka's default for `offset.metadata.max.bytes`.
const MAX_BYTES: usize = 4096;

/// Its digit is the version: another way to write a map, or to mean it, gets another.
const PREFIX: &str = "outhook2:";
const EARLIER: &str = "outhook1:";
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

/// What a commit tells of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitMetadata {
    /// A record of it, mostly the last one before the committed offset.
    pub log: Mark,
    pub completion: Option<Completion>,
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

impl CommitMetadata {
    /// Writes what a commit tells. The map is of ranges that are in order and apart, all beyond `head`; without them there
    /// is none. What does not fit is left out, the highest offsets first.
    pub fn encode(
        cluster: &str,
        log: Mark,
        head: Mark,
        newest: i64,
        settled: impl Iterator<Item = Range<i64>>,
    ) -> String {
        let mut text = format!("{PREFIX}{cluster}:");
        push_mark(&mut text, log);
        let without_map = text.len();
        push_mark(&mut text, head);
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
            text.truncate(without_map);
        }
        text.push(END);
        text
    }

    /// Reads what a commit of this cluster tells; None for whatever else the text is.
    pub fn decode(cluster: &str, text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_BYTES)?;
        let (is_earlier, rest) = match text.strip_prefix(PREFIX) {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix(EARLIER)?),
        };
        let numbers = rest.strip_prefix(cluster)?.strip_prefix(':')?.strip_suffix(END)?;
        let mut digits = numbers.as_bytes();
        let log = take_mark(&mut digits)?;
        if !is_earlier && digits.is_empty() {
            return Some(Self { log, completion: None });
        }
        let head = if is_earlier { log } else { take_mark(&mut digits)? };
        let newest = take_number(&mut digits)?.cast_signed();
        let mut settled = VecDeque::new();
        let mut behind = head.offset.checked_add(1)?;
        while !digits.is_empty() {
            let start = behind.checked_add_unsigned(take_number(&mut digits)?)?;
            let end = start.checked_add_unsigned(take_number(&mut digits)?)?;
            settled.push_back(start..end);
            behind = end;
        }
        Some(Self { log, completion: Some(Completion { head, newest, settled }) })
    }
}

impl Completion {
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

fn push_mark(text: &mut String, mark: Mark) {
    push_number(text, mark.offset.cast_unsigned());
    push_number(text, mark.timestamp.cast_unsigned());
}

fn take_mark(digits: &mut &[u8]) -> Option<Mark> {
    let offset = i64::try_from(take_number(digits)?).ok()?;
    Some(Mark { offset, timestamp: take_number(digits)?.cast_signed() })
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
