//! Rules of when an endpoint gets a call and what its answers mean. Pure: times are arguments.

pub(super) mod breaker;
pub(super) mod classify;
pub(super) mod concurrency;
pub(super) mod drain_rate;
pub(super) mod retry_after;
pub(super) mod schedule;
