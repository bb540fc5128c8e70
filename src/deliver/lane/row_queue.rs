//! The row queues of a lane in row order; pure.
//!
//! A row has one head: the call that is queued, under way or waiting for its retry. All other calls of the row are
//! parked behind it in arrival order, until the head has left the lane.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::deliver::FailureCause;
use crate::id::RowKey;

/// The rows that have calls in a lane.
#[derive(Debug)]
pub(in crate::deliver) struct RowQueues<T> {
    of: HashMap<RowKey, RowQueue<T>>,
    parked: usize,
}

#[derive(Debug)]
struct RowQueue<T> {
    /// Why the row's last attempt failed, and since when all attempts have failed. Kept when the head is
    /// dead-lettered.
    trouble: Option<(FailureCause, Duration)>,
    parked: VecDeque<T>,
}

impl<T> Default for RowQueues<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), parked: 0 }
    }
}

impl<T> RowQueues<T> {
    /// Returns a call that becomes the head of its row. Parks any other.
    pub fn enter(&mut self, row: RowKey, call: T) -> Option<T> {
        match self.of.get_mut(&row) {
            None => {
                self.of.insert(row, RowQueue { trouble: None, parked: VecDeque::new() });
                Some(call)
            }
            Some(queue) => {
                queue.parked.push_back(call);
                self.parked += 1;
                None
            }
        }
    }

    /// The head of a row has left. Returns the call behind it, which becomes the head, or removes the row.
    pub fn leave(&mut self, row: RowKey) -> Option<T> {
        let queue = self.of.get_mut(&row)?;
        let Some(next) = queue.parked.pop_front() else {
            self.of.remove(&row);
            return None;
        };
        self.parked -= 1;
        Some(next)
    }

    /// The head of a row has failed in an attempt that began at this time. Returns since when the row has failed.
    pub fn failed(&mut self, row: RowKey, began: Duration, cause: &FailureCause) -> Duration {
        let Some(queue) = self.of.get_mut(&row) else { return began };
        let since = queue.trouble.as_ref().map_or(began, |(_, since)| *since);
        queue.trouble = Some((cause.clone(), since));
        since
    }

    /// The head of a row was delivered.
    pub fn worked(&mut self, row: RowKey) {
        if let Some(queue) = self.of.get_mut(&row) {
            queue.trouble = None;
        }
    }

    /// Number of calls that wait for the head of a row.
    pub fn behind(&self, row: RowKey) -> usize {
        self.of.get(&row).map_or(0, |queue| queue.parked.len())
    }

    /// Why a row fails, and since when. None if it does not fail.
    pub fn trouble(&self, row: RowKey) -> Option<&(FailureCause, Duration)> {
        self.of.get(&row)?.trouble.as_ref()
    }

    /// Number of calls that wait for a head, over all rows.
    pub fn parked(&self) -> usize {
        self.parked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(number: u64) -> RowKey {
        format!("{number:x}").parse().unwrap()
    }

    fn cause() -> FailureCause {
        FailureCause { class: "timeout", status: None, text: "no answer".to_owned() }
    }

    #[test]
    fn row_has_one_head_and_parked_calls_follow_in_order() {
        let mut rows = RowQueues::default();
        assert_eq!(rows.enter(row(1), 'a'), Some('a'));
        assert_eq!((rows.enter(row(1), 'b'), rows.enter(row(1), 'c')), (None, None));
        assert_eq!(rows.enter(row(2), 'x'), Some('x'), "another row does not wait");
        assert_eq!((rows.behind(row(1)), rows.behind(row(2)), rows.parked()), (2, 0, 2));
        assert_eq!((rows.leave(row(1)), rows.leave(row(1))), (Some('b'), Some('c')));
        assert_eq!((rows.leave(row(1)), rows.parked()), (None, 0));
        assert_eq!(rows.enter(row(1), 'd'), Some('d'), "the row was forgotten");
    }

    #[test]
    fn failure_of_a_row_lasts_until_a_head_is_delivered() {
        let mut rows = RowQueues::default();
        let [first, second] = [1, 2].map(Duration::from_secs);
        rows.failed(row(1), first, &cause());
        rows.enter(row(1), 'a');
        assert_eq!(rows.trouble(row(1)), None);
        assert_eq!(rows.failed(row(1), first, &cause()), first);
        rows.enter(row(1), 'b');
        rows.leave(row(1));
        assert_eq!(rows.failed(row(1), second, &cause()), first, "the row has failed since the last head failed");
        assert_eq!(rows.trouble(row(1)), Some(&(cause(), first)));
        rows.worked(row(1));
        assert_eq!(rows.trouble(row(1)), None);
        assert_eq!(rows.failed(row(1), second, &cause()), second);
        rows.leave(row(1));
        assert_eq!(rows.trouble(row(1)), None, "the row was removed");
    }

    proptest! {
        /// Whenever heads leave, each row's calls become head in their order, one at a time, and no call remains.
        #[test]
        fn every_call_becomes_head_once_in_row_order(steps in prop::collection::vec((0u64..4, any::<bool>()), 0..200)) {
            let mut rows = RowQueues::default();
            let (mut entered, mut heads, mut seen) = ([0; 4], [false; 4], [0; 4]);
            let mut turn = |of: u64, number: usize| {
                prop_assert_eq!(number, seen[of as usize], "row {} out of its order", of);
                seen[of as usize] += 1;
                Ok(())
            };
            for (of, leaves) in steps {
                let place = of as usize;
                if leaves {
                    let next = rows.leave(row(of));
                    prop_assert!(heads[place] || next.is_none());
                    heads[place] = next.is_some();
                    next.map_or(Ok(()), |number| turn(of, number))?;
                } else {
                    let head = rows.enter(row(of), entered[place]);
                    prop_assert_eq!(head.is_some(), !heads[place]);
                    heads[place] = true;
                    entered[place] += 1;
                    head.map_or(Ok(()), |number| turn(of, number))?;
                }
            }
            for of in 0..4 {
                while let Some(number) = rows.leave(row(of)) {
                    turn(of, number)?;
                }
            }
            prop_assert_eq!(seen, entered);
            prop_assert_eq!((rows.parked(), rows.of.len()), (0, 0));
        }
    }
}
