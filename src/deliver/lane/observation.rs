//! What attempts show about an endpoint, and what follows for its lane.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Lane, LaneState};
use crate::deliver::FailureCause;
use crate::deliver::failure_summary::FailureSummary;
use crate::deliver::overflow_reason::OverflowReason;

/// What an attempt shows about the endpoint.
#[derive(Debug, Clone)]
pub(in crate::deliver) enum Observation {
    /// The endpoint works, whatever its response to this call.
    Works,
    /// The endpoint reports that it is in trouble, or does not answer.
    Fails(FailureCause),
    /// As `Fails`, and fewer concurrent calls would help.
    Overloaded(FailureCause),
    /// The endpoint asks for a pause of this length.
    WantsPause(FailureCause, Duration),
}

impl Lane {
    /// Applies the result of an attempt. If the breaker opens, all queued calls are deferred to the overflow log.
    pub fn observe(&self, observation: Observation, took: Duration) {
        let now = self.created.elapsed();
        let mut state = self.state();
        let under_way = state.under_way;
        let (opened, cause) = match observation {
            Observation::Works => {
                if state.breaker.is_open() {
                    state.concurrency.reset_after_recovery();
                    let lasted = state.trouble(now).map_or(Duration::ZERO, |trouble| trouble.duration);
                    self.shared.recovered.record(self.key.line(), lasted);
                }
                state.concurrency.record_response(took, under_way, now);
                state.breaker.record_success();
                (state.trouble, state.has_worked) = (None, true);
                return;
            }
            Observation::Fails(cause) => (state.breaker.record_failure(now), cause),
            Observation::Overloaded(cause) => {
                state.concurrency.record_overload(now);
                (state.breaker.record_failure(now), cause)
            }
            Observation::WantsPause(cause, pause) => {
                state.concurrency.record_overload(now);
                (state.breaker.pause(now, pause), cause)
            }
        };
        let since = state.trouble.as_ref().map_or(now, |(_, since)| *since);
        state.trouble = Some((cause, since));
        state.last_failed = now;
        let trouble = state.trouble(now);
        let queued = if opened { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        drop(state);
        if opened {
            self.shared.metrics.breakers_opened.increment(1);
        }
        queued
            .into_iter()
            .for_each(|queued| self.shared.defer(queued.into_call(), OverflowReason::Failing(trouble.clone())));
    }
}

impl LaneState {
    /// Why the endpoint fails, and for how long.
    pub(super) fn trouble(&self, now: Duration) -> Option<FailureSummary> {
        let (cause, since) = self.trouble.as_ref()?;
        Some(FailureSummary { cause: cause.clone(), duration: now.saturating_sub(*since) })
    }
}
