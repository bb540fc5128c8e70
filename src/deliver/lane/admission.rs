//! Decides whether a lane takes one more call.

use std::time::Duration;

use super::super::{Call, Cause, Config};
use super::LaneState;
use crate::deliver::context::DeliveryContext;
use crate::deliver::failure_summary::FailureSummary;
use crate::id::RowKey;

/// Divisor of `order_patience`: for this part of it, an endpoint may fail before calls without a place are
/// dead-lettered. So calls wait for a receiver that restarts.
const BLIP: u32 = 20;

/// Each lane takes this many calls, however many other lanes hold.
const PLACES: usize = 8;

/// Why a lane does not take a call. The call is returned.
pub(in crate::deliver) enum Refusal {
    /// There is no room now, but there will be soon.
    Full(Call),
    /// There is no room, and waiting for it would delay other endpoints: the endpoint takes fewer calls than arrive.
    Slow(Call),
    /// The endpoint fails, for this reason.
    Failing(Call, Option<FailureSummary>),
    /// In row order: this many calls wait before the call, and the endpoint fails.
    Behind {
        call: Call,
        waiting: usize,
        trouble: Cause,
    },
    Closed(Call),
}

impl LaneState {
    /// Returns the call if there is a place for it.
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
                // Each lane keeps some places, so that lanes of working endpoints make progress when others have used
                // up the rest.
                let full = full || (self.calls >= PLACES && shared.in_order.is_full());
                if full || self.rows.behind(row) >= config.order_parked {
                    return Err(self.behind(call, (row, full), config, now));
                }
                Ok(call)
            }
            None if self.breaker.is_open() && !self.breaker.wants_probe(now) => {
                Err(Refusal::Failing(call, self.trouble(now)))
            }
            // The endpoint decides how long its calls hold memory, so they must not take the memory of others.
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

    /// Refuses a call because the lane is full or too many calls of its row wait. The call waits for a place, unless
    /// the endpoint has only failed for a while.
    fn behind(&mut self, call: Call, (row, full): (RowKey, bool), config: &Config, now: Duration) -> Refusal {
        if full && !std::mem::replace(&mut self.full, true) {
            (self.full_since, self.full_at) = (now, config.queue_calls);
        }
        let (waiting, trouble) = match full {
            // Failures from before the lane was full do not count.
            true => (self.calls, self.trouble.as_ref().filter(|_| self.last_failed > self.full_since)),
            false => (self.rows.behind(row) + 1, self.rows.trouble(row)),
        };
        match trouble.filter(|(_, since)| now.saturating_sub(*since) >= config.order_patience / BLIP) {
            Some((trouble, _)) => Refusal::Behind { call, waiting, trouble: trouble.clone() },
            None => Refusal::Full(call),
        }
    }

    /// How many calls the lane may hold before it takes this one. While calls wait in the overflow log, fresh calls
    /// get half of the places that waiting calls get. So the waiting calls fill the lane first, and fresh calls get
    /// all places again when the log has no more.
    fn places(&self, config: &Config, now: Duration, from_overflow: bool) -> usize {
        let waiting = self.waiting_places(config);
        match (from_overflow, self.is_behind(now)) {
            (true, _) => waiting,
            (false, true) => waiting / 2,
            (false, false) => config.queue_calls,
        }
    }

    /// How many calls the lane may hold before it takes one that can wait in the overflow log. This keeps the lane's
    /// workers busy until more calls are read. It is not more, because very many lanes may do the same.
    pub(super) fn waiting_places(&self, config: &Config) -> usize {
        (self.concurrency.allowed() * 2).max(PLACES).min(config.queue_calls)
    }

    /// Whether calls of this lane wait in the overflow log, in the partitions that this instance reads.
    fn is_behind(&self, now: Duration) -> bool {
        self.behind_until.is_some_and(|until| now < until)
    }

    /// Whether a full lane delays other endpoints.
    fn is_slow(&mut self, most: usize, shared: &DeliveryContext, now: Duration) -> bool {
        let is_behind = self.is_behind(now);
        (self.full, self.full_at) = (true, most);
        !self.breaker.is_open() && self.pace.is_slow(self.calls, is_behind, shared.clock.read())
    }
}
