//! Handling of calls in row order. They wait in memory for room, and the head of a row for its next attempt, because
//! a retry topic would lose their places. A call that can't wait in memory is dead-lettered.

use std::time::Duration;

use super::{Lane, Observation, QueuedCall};
use crate::deliver::policy::schedule::NextAttempt;
use crate::deliver::{Call, Cause, EndpointEvent, Outcome, attempt_log};
use crate::message_log::CallStatus;

/// Class of the dead letter of a call that found no place behind others, while the endpoint failed.
const CLASS: &str = "row_order";

/// Dead-letters a call for which there is no place behind `waiting` others.
pub(in crate::deliver) fn turned_away(lane: &Lane, call: Call, waiting: usize, trouble: &Cause) {
    let text = format!(
        "not attempted: {waiting} calls wait before it in row order, there is no room for more, and the endpoint \
         fails: {}",
        trouble.text
    );
    let cause = Cause { class: CLASS, status: trouble.status, text };
    lane.shared.onward.tell(&call, &lane.route.shown, &EndpointEvent::Exhausted(&cause));
    lane.shared.metrics.exhausted.increment(1);
    attempt_log::end(&*lane.shared.onward, &call, CallStatus::Exhausted, Some(&cause));
    lane.shared.onward.finished(call, Outcome::Exhausted { cause });
}

/// The observation of a failed attempt in row order. Each failure counts against the endpoint, whatever its reason,
/// because it delays other calls. A requested pause applies to each row separately.
pub(in crate::deliver) fn shown(shown: Observation, cause: &Cause) -> Observation {
    match shown {
        Observation::WantsPause(cause, _) => Observation::Overloaded(cause),
        Observation::Works => Observation::Fails(cause.clone()),
        Observation::Fails(_) | Observation::Overloaded(_) => shown,
    }
}

/// Decides about the head of a row after a failed attempt. The head waits for its next attempt, and its row with it,
/// but no longer than `order_patience` allows. Then the head is dead-lettered, and the row continues. The calls
/// behind it get one attempt each until one is delivered, so that a row which fails permanently does not hold places
/// for days.
pub(in crate::deliver) fn next(
    lane: &Lane,
    queued: &QueuedCall,
    took: Duration,
    next: Option<NextAttempt>,
    cause: Cause,
) -> (Option<NextAttempt>, Cause) {
    let lasted = lane.head_failed(queued, took, &cause);
    let patience = lane.shared.config.order_patience.saturating_sub(lasted);
    if let Some(NextAttempt::InMemory(wait) | NextAttempt::InTopic(wait)) = next
        && !patience.is_zero()
    {
        return (Some(NextAttempt::InMemory(wait.min(patience))), cause);
    }
    let text = format!(
        "{}; dead-lettered after {} attempts: its row has failed for {lasted:.1?}, and {} calls of the row \
         wait behind it",
        cause.text,
        queued.call.attempts,
        lane.behind(queued)
    );
    (Some(NextAttempt::Never), Cause { text, ..cause })
}
