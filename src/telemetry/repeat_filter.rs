//! Filter for repeated log lines.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Min time between two writes of the same line.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Max different lines of the last minute that are remembered. Further lines are always written.
const MAX_REMEMBERED_LINES: usize = 100;

/// Log lines that were written, each with the number of repeats since then.
#[derive(Debug, Default)]
pub struct RepeatFilter(Mutex<HashMap<String, (Instant, u64)>>);

impl RepeatFilter {
    /// The number of repeats of a line since it was last written, if it should be written now. Lines that differ only
    /// in numbers are the same line.
    pub fn due(&self, line: &str, now: Instant) -> Option<u64> {
        let kind: String = line.chars().filter(|character| !character.is_ascii_digit()).collect();
        let mut written = self.0.lock();
        if let Some((last, since)) = written.get_mut(&kind) {
            if now.duration_since(*last) < MIN_INTERVAL {
                *since += 1;
                return None;
            }
            *last = now;
            return Some(std::mem::take(since));
        }
        if written.len() >= MAX_REMEMBERED_LINES {
            written.retain(|_, (last, _)| now.duration_since(*last) < MIN_INTERVAL);
        }
        if written.len() < MAX_REMEMBERED_LINES {
            written.insert(kind, (now, 0));
        }
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_line_is_logged_once_a_minute_with_its_count() {
        let (repeats, start) = (RepeatFilter::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.due("broker 1 refuses after 3ms", at(0)), Some(0));
        assert_eq!(repeats.due("another", at(1)), Some(0));
        assert!((1..60).all(|second| repeats.due(&format!("broker 1 refuses after {second}ms"), at(second)).is_none()));
        assert_eq!(repeats.due("broker 1 refuses after 3ms", at(60)), Some(59));
        assert_eq!(repeats.due("broker 1 refuses after 3ms", at(119)), None);
        assert_eq!(repeats.due("broker 1 refuses after 3ms", at(120)), Some(1));
    }

    #[test]
    fn number_of_remembered_lines_is_bounded() {
        let (repeats, now) = (RepeatFilter::default(), Instant::now());
        for n in 0..3 * MAX_REMEMBERED_LINES {
            assert_eq!(repeats.due(&"x".repeat(n), now), Some(0));
        }
        assert_eq!(repeats.0.lock().len(), MAX_REMEMBERED_LINES);
        let later = now + MIN_INTERVAL;
        assert_eq!((repeats.due("y", later), repeats.due("y", later)), (Some(0), None), "old ones make room");
    }
}
