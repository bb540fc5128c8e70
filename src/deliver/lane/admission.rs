//! Whether a lane has a place for one more call, and why not.

use std::time::Duration;

use super::super::shared::{Shared, Trouble};
use super::super::{Call, Cause, Config};
use super::State;
use crate::id::Row;

/// By which part of the patience with a row its endpoint may fail before calls that find no place are given up: a
/// receiver that starts anew is waited for.
const BLIP: u32 = 20;

/// So many calls of a lane are taken however many are in memory in other lanes.
const PLACES: usize = 8;

/// Why a lane does not take a call; the call comes back.
pub(in crate::deliver) enum Refusal {
    /// There is no room, but there will be soon.
    Full(Call),
    /// There is no room, and calls leave it slowly or not at all.
    Slow(Call),
    /// The endpoint fails, for this reason.
    Failing(Call, Option<Trouble>),
    /// In row order so many calls wait before it, and the endpoint fails.
    Behind {
        call: Call,
        waiting: usize,
        trouble: Cause,
    },
    Closed(Call),
}

impl State {
    /// Gives back a call that there is a place for.
    #[expect(clippy::result_large_err, reason = "as for Lane::push")]
    pub(super) fn admit(
        &mut self,
        call: Call,
        row: Option<Row>,
        shared: &Shared,
        now: Duration,
    ) -> Result<Call, Refusal> {
        let config = &shared.config;
        let full = self.calls >= config.queue_calls || self.bytes >= config.queue_bytes;
        match row {
            _ if self.closed => Err(Refusal::Closed(call)),
            Some(row) => {
                // Some place is left in each lane, so that those which work go on when others have taken all.
                let full = full || (self.calls >= PLACES && shared.in_order.is_full());
                if full || self.rows.behind(row) >= config.order_parked {
                    return Err(self.behind(call, (row, full), config, now));
                }
                Ok(call)
            }
            None if full && self.is_worth_waiting(config.queue_wait, now) => Err(Refusal::Full(call)),
            None if full => Err(Refusal::Slow(call)),
            _ if !self.breaker.admits(now) => Err(Refusal::Failing(call, self.trouble(now))),
            _ => Ok(call),
        }
    }

    /// A call finds no place, in a lane that is full or behind too many of its row. It waits for one, unless there has
    /// been nothing but failures for a while.
    fn behind(&mut self, call: Call, (row, full): (Row, bool), config: &Config, now: Duration) -> Refusal {
        if full && !std::mem::replace(&mut self.full, true) {
            self.full_since = now;
        }
        let (waiting, trouble) = match full {
            // What failed before there were so many says nothing of them.
            true => (self.calls, self.trouble.as_ref().filter(|_| self.last_failed > self.full_since)),
            false => (self.rows.behind(row) + 1, self.rows.trouble(row)),
        };
        match trouble.filter(|(_, since)| now.saturating_sub(*since) >= config.order_patience / BLIP) {
            Some((trouble, _)) => Refusal::Behind { call, waiting, trouble: trouble.clone() },
            None => Refusal::Full(call),
        }
    }

    /// Whether a full lane has room again soon.
    fn is_worth_waiting(&mut self, queue_wait: Duration, now: Duration) -> bool {
        if !std::mem::replace(&mut self.full, true) {
            self.pace.full(now);
        }
        !self.breaker.is_open() && self.pace.moves(self.calls, queue_wait, now)
    }
}
