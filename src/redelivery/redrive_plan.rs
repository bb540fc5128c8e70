//! The order in which many dead letters are redriven: the oldest change of each row first.
//!
//! Letters are in their topic in the order in which calls were dead-lettered. For a row in row order that may differ
//! from the order of its changes: a call that finds its lane full is dead-lettered before the calls that wait in front
//! of it. So a letter is moved in front of the first letter of a newer change of its row. All other letters keep the
//! order of the topic, so that many are read together.

use std::cmp::Reverse;

use crate::dead_letters::{DeadLetter, DeadLetterId};
use crate::id::RowKey;

/// All letters of a redrive.
#[derive(Debug, Default)]
pub struct RedrivePlan {
    letters: Vec<QueuedLetter>,
}

/// The part of a letter that decides its order: about 80 bytes, since there may be very many letters.
#[derive(Debug, Clone, Copy)]
struct QueuedLetter {
    id: DeadLetterId,
    row_key: Option<RowKey>,
    /// Offset of the row change. All changes of a row are in one partition.
    offset: Option<i64>,
    /// Size of the body.
    bytes: u64,
    /// The letter whose turn it takes: itself, or a letter of a newer change of its row.
    turn: DeadLetterId,
}

impl RedrivePlan {
    pub fn add(&mut self, letter: &DeadLetter) {
        let DeadLetter { id, row_key: row, offset, bytes, .. } = *letter;
        self.letters.push(QueuedLetter { id, row_key: row, offset, bytes: bytes.unwrap_or(0) as u64, turn: id });
    }

    /// Number of letters.
    pub fn count(&self) -> usize {
        self.letters.len()
    }

    /// Splits the letters into batches, the first to be sent first. A batch has at most `max_letters` letters and
    /// `max_bytes` bytes of bodies, or a single larger letter. In a row, no change in a batch is newer than one in
    /// the next.
    pub fn batches(mut self, max_letters: usize, max_bytes: u64) -> Vec<Vec<DeadLetterId>> {
        self.set_turns();
        self.letters.sort_unstable_by_key(|letter| (letter.turn, letter.offset, letter.id));
        let mut batches: Vec<Vec<DeadLetterId>> = Vec::new();
        let mut bytes = 0;
        for letter in &self.letters {
            bytes += letter.bytes;
            match batches.last_mut() {
                Some(batch) if batch.len() < max_letters && bytes <= max_bytes => batch.push(letter.id),
                _ => {
                    batches.push(vec![letter.id]);
                    bytes = letter.bytes;
                }
            }
        }
        batches
    }

    fn set_turns(&mut self) {
        // Visits each row from its newest change back.
        self.letters.sort_unstable_by_key(|letter| (letter.row_key, Reverse(letter.offset)));
        let mut newer: Option<(RowKey, DeadLetterId)> = None;
        for letter in &mut self.letters {
            let Some(row) = letter.row_key else { continue };
            if let Some((_, turn)) = newer.filter(|(of, _)| *of == row) {
                letter.turn = turn.min(letter.id);
            }
            newer = Some((row, letter.turn));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// Letters in the order of their topic: each of a row, or of none, with the offset of its change.
    fn turns(letters: &[(Option<u8>, i64)]) -> RedrivePlan {
        let turn = |(number, (row, offset)): (usize, &(Option<u8>, i64))| {
            let id = DeadLetterId { partition: 0, offset: number as i64 };
            let row = row.map(|row| format!("{row:016x}").parse().unwrap());
            QueuedLetter { id, row_key: row, offset: Some(*offset), bytes: 10, turn: id }
        };
        RedrivePlan { letters: letters.iter().enumerate().map(turn).collect() }
    }

    fn batches(letters: &[(Option<u8>, i64)], most: usize, most_bytes: u64) -> Vec<Vec<i64>> {
        let batches = turns(letters).batches(most, most_bytes);
        batches.into_iter().map(|batch| batch.into_iter().map(|id| id.offset).collect()).collect()
    }

    #[test]
    fn a_letter_written_behind_a_newer_change_of_its_row_goes_out_in_front_of_it() {
        let letters = [(None, 9), (Some(1), 30), (Some(2), 31), (Some(1), 10), (Some(1), 20), (None, 1), (Some(1), 40)];
        assert_eq!(batches(&letters, 9, 999), [[0, 3, 4, 1, 2, 5, 6]]);
        assert_eq!(batches(&letters, 3, 999), [&[0, 3, 4][..], &[1, 2, 5], &[6]]);
        assert_eq!(batches(&letters, 9, 25), [&[0, 3][..], &[4, 1], &[2, 5], &[6]]);
        assert_eq!(batches(&letters[..2], 9, 1), [[0], [1]], "a large one is alone");
        assert!(batches(&[], 9, 999).is_empty());
    }

    proptest! {
        #[test]
        fn each_letter_is_redriven_once_and_each_row_in_order(
            letters in vec((option::of(0..4_u8), 0..40_i64), 0..60),
            most in 1..9_usize,
        ) {
            let batches = batches(&letters, most, u64::MAX);
            prop_assert!(batches.iter().all(|batch| (1..=most).contains(&batch.len())));
            let order = batches.concat();
            let mut all = order.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..letters.len() as i64).collect::<Vec<_>>());
            let mut rows = HashMap::<Option<u8>, Vec<i64>>::new();
            for number in order {
                let (row, offset) = letters[number as usize];
                rows.entry(row).or_default().push(if row.is_some() { offset } else { number });
            }
            prop_assert!(rows.values().all(|row| row.is_sorted()), "{:?}", rows);
        }
    }
}
