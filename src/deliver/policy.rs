//! Rules for when an endpoint gets a call and what its responses mean. Pure: times are arguments.

pub(super) mod breaker;
pub(super) mod classify;
pub(super) mod concurrency;
pub(super) mod drain_rate;
pub(super) mod retry_after;
pub(super) mod schedule;
