//! What is different for calls in row order: they wait for room, and a row's head for its next attempt, at their
//! places, because a retry topic would lose these. What can't wait there becomes a dead letter that says so.

use std::time::Duration;

use super::{Lane, Observation, QueuedCall};
use crate::deliver::policy::schedule::NextAttempt;
use crate::deliver::{Call, Cause, EndpointEvent, Outcome, attempt_log};
use crate::message_log::CallStatus;

/// The class of a dead letter of a call that found no place behind others whose endpoint fails.
const CLASS: &str = "row_order";

/// A call finds no place behind so many others.
pub(in crate::deliver) fn turned_away(lane: &Lane, call: Call, waiting: usize, trouble: &Cause) {
    let text = format!(
        "not tried, because {waiting} calls wait before it in their rows' order, for which there is no more room, and \
         the endpoint fails: {}",
        trouble.text
    );
    let cause = Cause { class: CLASS, status: trouble.status, text };
    lane.shared.onward.tell(&call, &lane.route.shown, &EndpointEvent::Exhausted(&cause));
    lane.shared.metrics.exhausted.increment(1);
    attempt_log::end(&*lane.shared.onward, &call, CallStatus::Exhausted, Some(&cause));
    lane.shared.onward.finished(call, Outcome::Exhausted { cause });
}

/// What a failed attempt shows of an endpoint whose calls are in order. What it refuses, for whatever reason, keeps
/// others waiting, and a pause is kept to by each row for itself.
pub(in crate::deliver) fn shown(shown: Observation, cause: &Cause) -> Observation {
    match shown {
        Observation::WantsPause(cause, _) => Observation::Overloaded(cause),
        Observation::Works => Observation::Fails(cause.clone()),
        Observation::Fails(_) | Observation::Overloaded(_) => shown,
    }
}

/// What follows a row's head that has failed: it waits for its next attempt and its row with it, but no longer than
/// the row may be kept waiting; then it is given up, and the row goes on. Those behind it have one attempt each until
/// one is delivered, so that a row which fails for good does not keep a place for days.
pub(in crate::deliver) fn next(
    lane: &Lane,
    held: &QueuedCall,
    took: Duration,
    next: Option<NextAttempt>,
    cause: Cause,
) -> (Option<NextAttempt>, Cause) {
    let lasted = lane.head_failed(held, took, &cause);
    let patience = lane.shared.config.order_patience.saturating_sub(lasted);
    if let Some(NextAttempt::Moment(wait) | NextAttempt::Wait(wait)) = next
        && !patience.is_zero()
    {
        return (Some(NextAttempt::Moment(wait.min(patience))), cause);
    }
    let text = format!(
        "{}; given up after {} attempts, its row failing for {lasted:.1?}, while {} calls waited behind it in its \
         row's order",
        cause.text,
        held.call.attempts,
        lane.behind(held)
    );
    (Some(NextAttempt::GiveUp), Cause { text, ..cause })
}
