//! The orders to retry now, by line; pure.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::report::RetryOrder;
use crate::id::Line;

/// How long an order is kept, in milliseconds: no call waits longer in one place.
const ORDER_RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Orders of a line within this time of the first one are merged, in milliseconds. An endpoint that is tried because
/// of an order recovers soon, and each instance that sees the recovery adds another order.
const MERGE_WINDOW_MS: i64 = 60_000;

/// Within this time after an order about all calls of a line, another one is skipped, in milliseconds.
const MIN_REORDER_INTERVAL_MS: i64 = 10_000;

/// The calls that may be sent before they are due: those written in this period, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlySendWindow {
    pub from_ms: i64,
    pub until_ms: i64,
}

impl EarlySendWindow {
    const NONE: Self = Self { from_ms: i64::MAX, until_ms: i64::MIN };

    /// Whether a call that was written at this time is one of them.
    pub fn has(self, written_ms: i64) -> bool {
        (self.from_ms..=self.until_ms).contains(&written_ms)
    }
}

/// The merged newest orders of each line.
#[derive(Debug, Default)]
pub struct RetryOrders(DashMap<Line, MergedOrder>);

#[derive(Debug, Clone, Copy)]
struct MergedOrder {
    window: EarlySendWindow,
    /// When the first of the merged orders was given.
    first_ms: i64,
}

impl RetryOrders {
    /// Applies an order. Returns true if it changes anything.
    pub fn merge(&self, RetryOrder { line, from_ms, at_ms }: RetryOrder) -> bool {
        let alone = MergedOrder { window: EarlySendWindow { from_ms, until_ms: at_ms }, first_ms: at_ms };
        let mut known = match self.0.entry(line) {
            Entry::Vacant(none) => {
                none.insert(alone);
                return true;
            }
            Entry::Occupied(known) => known,
        };
        let MergedOrder { window, first_ms } = *known.get();
        let is_within_window = (first_ms - MERGE_WINDOW_MS..=first_ms + MERGE_WINDOW_MS).contains(&at_ms);
        if !is_within_window {
            let is_newer = at_ms > window.until_ms;
            if is_newer {
                known.insert(alone);
            }
            return is_newer;
        }
        let wider = EarlySendWindow { from_ms: from_ms.min(window.from_ms), until_ms: at_ms.max(window.until_ms) };
        known.insert(MergedOrder { window: wider, first_ms: first_ms.min(at_ms) });
        wider != window
    }

    /// Whether an order about all calls of a line was given so recently that another one is not needed.
    pub fn is_recent(&self, line: Line, now_ms: i64) -> bool {
        let age_ms = |window: EarlySendWindow| now_ms.saturating_sub(window.until_ms);
        self.0
            .get(&line)
            .is_some_and(|newest| newest.window.from_ms == i64::MIN && age_ms(newest.window) < MIN_REORDER_INTERVAL_MS)
    }

    /// The calls of a line that the orders cover.
    pub fn early_send_window(&self, line: Line) -> EarlySendWindow {
        self.0.get(&line).map_or(EarlySendWindow::NONE, |newest| newest.window)
    }

    pub fn drop_old(&self, now_ms: i64) {
        self.0.retain(|_, newest| newest.window.until_ms >= now_ms - ORDER_RETENTION_MS);
    }
}
