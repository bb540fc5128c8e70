//! Whether a lane has a place for one more call, and why not.

use std::time::Duration;

use super::super::{Call, Cause, Config};
use super::LaneState;
use crate::deliver::context::{DeliveryContext, FailureSummary};
use crate::id::RowKey;

/// By which part of the patience with a row its endpoint may fail before calls that find no place are given up: a
/// receiver that starts anew is waited for.
const BLIP: u32 = 20;

/// So many calls of a lane are taken however many are in memory in other lanes.
const PLACES: usize = 8;

/// Why a lane does not take a call; the call comes back.
pub(in crate::deliver) enum Refusal {
    /// There is no room, but there will be soon.
    Full(Call),
    /// There is no room, and whoever waits for some keeps others waiting: the endpoint takes less than comes.
    Slow(Call),
    /// The endpoint fails, for this reason.
    Failing(Call, Option<FailureSummary>),
    /// In row order so many calls wait before it, and the endpoint fails.
    Behind {
        call: Call,
        waiting: usize,
        trouble: Cause,
    },
    Closed(Call),
}

impl LaneState {
    /// Gives back a call that there is a place for.
    #[expect(clippy::result_large_err, reason = "as for Lane::push")]
    pub(super) fn admit(
        &mut self,
        call: Call,
        row: Option<RowKey>,
        shared: &DeliveryContext,
        now: Duration,
    ) -> Result<Call, Refusal> {
        let config = &shared.config;
        let most = self.places(config, now, call.from_overflow);
        let full = self.calls >= most || self.bytes >= config.queue_bytes;
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
            None if self.breaker.is_open() && !self.breaker.wants_probe(now) => {
                Err(Refusal::Failing(call, self.trouble(now)))
            }
            // What holds bytes for as long as its endpoint pleases must not take those of others.
            None if call.receipt.crowds_memory(self.bytes) => match call.from_overflow {
                true => Err(Refusal::Full(call)),
                false => Err(Refusal::Slow(call)),
            },
            None if full && call.from_overflow => Err(Refusal::Full(call)),
            None if full && self.is_slow(most, shared, now) => Err(Refusal::Slow(call)),
            None if full => Err(Refusal::Full(call)),
            _ if !self.breaker.admits(now) => Err(Refusal::Failing(call, self.trouble(now))),
            _ => Ok(call),
        }
    }

    /// A call finds no place, in a lane that is full or behind too many of its row. It waits for one, unless there has
    /// been nothing but failures for a while.
    fn behind(&mut self, call: Call, (row, full): (RowKey, bool), config: &Config, now: Duration) -> Refusal {
        if full && !std::mem::replace(&mut self.full, true) {
            (self.full_since, self.full_at) = (now, config.queue_calls);
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

    /// How many calls the lane may hold before it takes this one. While calls wait in the overflow log, fresh ones get half
    /// of the places that those get, which fill the rest: so they go behind them, and have places again when the log has
    /// no more.
    fn places(&self, config: &Config, now: Duration, from_overflow: bool) -> usize {
        let waiting = self.waiting_places(config);
        match (from_overflow, self.is_behind(now)) {
            (true, _) => waiting,
            (false, true) => waiting / 2,
            (false, false) => config.queue_calls,
        }
    }

    /// How many calls the lane may hold before it takes one that can wait in the overflow log: what keeps its workers
    /// busy until more is read, and no more, since there may be very many such lanes.
    pub(super) fn waiting_places(&self, config: &Config) -> usize {
        (self.concurrency.allowed() * 2).max(PLACES).min(config.queue_calls)
    }

    /// Whether calls of this lane wait in the overflow log, as far as this instance reads it.
    fn is_behind(&self, now: Duration) -> bool {
        self.behind_until.is_some_and(|until| now < until)
    }

    /// Whether a full lane keeps others waiting.
    fn is_slow(&mut self, most: usize, shared: &DeliveryContext, now: Duration) -> bool {
        let is_behind = self.is_behind(now);
        (self.full, self.full_at) = (true, most);
        !self.breaker.is_open() && self.pace.is_slow(self.calls, is_behind, shared.clock.read())
    }
}
