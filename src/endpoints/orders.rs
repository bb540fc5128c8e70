//! The orders to retry now, by line; pure.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::report::Order;
use crate::id::Line;

/// How long an order matters, in milliseconds: no call waits longer in one place.
const ORDER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Orders of a line that come within this time are one, in milliseconds: an endpoint that is tried on somebody's order
/// recovers soon, which gives an order of its own.
const TOGETHER_MS: i64 = 60_000;

/// Which calls go out before they are due: those that were written in this time, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    pub from_ms: i64,
    pub by_ms: i64,
}

impl Forward {
    const NONE: Self = Self { from_ms: i64::MAX, by_ms: i64::MIN };

    /// Whether a call that was written then is one of them.
    pub fn has(self, written_ms: i64) -> bool {
        (self.from_ms..=self.by_ms).contains(&written_ms)
    }
}

/// What the newest orders of each line say together.
#[derive(Debug, Default)]
pub struct Orders(DashMap<Line, Forward>);

impl Orders {
    /// Takes in an order; true if it is news.
    pub fn learn(&self, Order { line, from_ms, at_ms }: Order) -> bool {
        let order = Forward { from_ms, by_ms: at_ms };
        match self.0.entry(line) {
            Entry::Vacant(none) => {
                none.insert(order);
            }
            Entry::Occupied(known) if at_ms <= known.get().by_ms => return false,
            Entry::Occupied(mut known) => {
                let before = known.get().by_ms;
                let is_together = at_ms.saturating_sub(before) <= TOGETHER_MS;
                let from_ms = if is_together { from_ms.min(known.get().from_ms) } else { from_ms };
                known.insert(Forward { from_ms, ..order });
            }
        }
        true
    }

    /// Which calls of a line the orders are about.
    pub fn forward(&self, line: Line) -> Forward {
        self.0.get(&line).map_or(Forward::NONE, |forward| *forward)
    }

    pub fn forget_old(&self, now_ms: i64) {
        self.0.retain(|_, forward| forward.by_ms >= now_ms - ORDER_MS);
    }
}
