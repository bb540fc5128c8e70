//! The orders to retry now, by line; pure.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::report::RetryOrder;
use crate::id::Line;

/// How long an order is kept, in milliseconds: no call waits longer in one place.
const ORDER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Orders of a line within this time of the first one are merged, in milliseconds. An endpoint that is tried because
/// of an order recovers soon, and each instance that sees the recovery adds another order.
const TOGETHER_MS: i64 = 60_000;

/// Within this time after an order about all calls of a line, another one is skipped, in milliseconds.
const AGAIN_MS: i64 = 10_000;

/// The calls that may be sent before they are due: those written in this period, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    pub from_ms: i64,
    pub by_ms: i64,
}

impl Forward {
    const NONE: Self = Self { from_ms: i64::MAX, by_ms: i64::MIN };

    /// Whether a call that was written at this time is one of them.
    pub fn has(self, written_ms: i64) -> bool {
        (self.from_ms..=self.by_ms).contains(&written_ms)
    }
}

/// The merged newest orders of each line.
#[derive(Debug, Default)]
pub struct Orders(DashMap<Line, Newest>);

#[derive(Debug, Clone, Copy)]
struct Newest {
    forward: Forward,
    /// When the first of the merged orders was given.
    first_ms: i64,
}

impl Orders {
    /// Applies an order. Returns true if it changes anything.
    pub fn learn(&self, RetryOrder { line, from_ms, at_ms }: RetryOrder) -> bool {
        let alone = Newest { forward: Forward { from_ms, by_ms: at_ms }, first_ms: at_ms };
        let mut known = match self.0.entry(line) {
            Entry::Vacant(none) => {
                none.insert(alone);
                return true;
            }
            Entry::Occupied(known) => known,
        };
        let Newest { forward, first_ms } = *known.get();
        let is_together = (first_ms - TOGETHER_MS..=first_ms + TOGETHER_MS).contains(&at_ms);
        if !is_together {
            let is_newer = at_ms > forward.by_ms;
            if is_newer {
                known.insert(alone);
            }
            return is_newer;
        }
        let wider = Forward { from_ms: from_ms.min(forward.from_ms), by_ms: at_ms.max(forward.by_ms) };
        known.insert(Newest { forward: wider, first_ms: first_ms.min(at_ms) });
        wider != forward
    }

    /// Whether an order about all calls of a line was given so recently that another one is not needed.
    pub fn is_recent(&self, line: Line, now_ms: i64) -> bool {
        let apart = |forward: Forward| now_ms.saturating_sub(forward.by_ms);
        self.0.get(&line).is_some_and(|newest| newest.forward.from_ms == i64::MIN && apart(newest.forward) < AGAIN_MS)
    }

    /// The calls of a line that the orders cover.
    pub fn forward(&self, line: Line) -> Forward {
        self.0.get(&line).map_or(Forward::NONE, |newest| newest.forward)
    }

    pub fn forget_old(&self, now_ms: i64) {
        self.0.retain(|_, newest| newest.forward.by_ms >= now_ms - ORDER_MS);
    }
}
