//! The orders to retry now, by line; pure.

use dashmap::DashMap;

use super::report::Order;
use crate::id::Line;

/// How long an order matters, in milliseconds: no call waits longer in one place.
const ORDER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// When the newest order of each line was given, milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Orders(DashMap<Line, i64>);

impl Orders {
    /// Takes in an order; true if it is news.
    pub fn learn(&self, Order { line, at_ms }: Order) -> bool {
        let mut known = self.0.entry(line).or_insert(i64::MIN);
        let is_news = at_ms > *known;
        *known = at_ms.max(*known);
        is_news
    }

    /// When the newest order of a line was given; the least number if there is none.
    pub fn ordered_ms(&self, line: Line) -> i64 {
        self.0.get(&line).map_or(i64::MIN, |at_ms| *at_ms)
    }

    pub fn forget_old(&self, now_ms: i64) {
        self.0.retain(|_, at_ms| *at_ms >= now_ms - ORDER_MS);
    }
}
