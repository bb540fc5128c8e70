//! What is different for calls in row order: they wait for room, and a row's head for its next attempt, at their
//! places, because a retry topic would lose these. What can't wait there becomes a dead letter that says so.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::lane::{Held, Lane, Refusal, Shown};
use super::schedule::Next;
use super::{Call, Cause, Lanes, News, Outcome, PATIENCE, note};
use crate::message_log::Status;

/// The class of a dead letter of a call that found no place behind others whose endpoint fails.
const CLASS: &str = "row_order";

impl Lanes {
    /// Queues a call behind all others of its row. Waits for a full lane as long as its endpoint works. Drops it
    /// unsettled when the lanes are stopping.
    pub async fn send_in_order(&self, mut call: Call) {
        self.shared.room().await;
        while let Some(lane) = self.shared.lane(&call) {
            let mut room = pin!(lane.room());
            // From here on no room that becomes free is missed.
            room.as_mut().enable();
            call = match lane.push(call) {
                Ok(()) => return,
                Err(Refusal::Full(back)) => {
                    let _ = timeout(PATIENCE, room).await;
                    back
                }
                Err(refusal) => match self.refused(&lane, refusal) {
                    Some(back) => back,
                    None => return,
                },
            };
        }
    }
}

/// A call finds no place behind so many others.
pub(super) fn turned_away(lane: &Lane, call: Call, waiting: usize, trouble: &Cause) {
    let text = format!(
        "not tried, because {waiting} calls wait before it in their rows' order, for which there is no more room, and \
         the endpoint fails: {}",
        trouble.text
    );
    let cause = Cause { class: CLASS, status: trouble.status, text };
    lane.shared.onward.tell(&call, &lane.route.shown, &News::Exhausted(&cause));
    lane.shared.metrics.exhausted.increment(1);
    note::end(&*lane.shared.onward, &call, Status::Exhausted, Some(CLASS));
    lane.shared.onward.finished(call, Outcome::Exhausted { cause });
}

/// What a failed attempt shows of an endpoint whose calls are in order. What it refuses, for whatever reason, keeps
/// others waiting, and a pause is kept to by each row for itself.
pub(super) fn shown(shown: Shown, cause: &Cause) -> Shown {
    match shown {
        Shown::WantsPause(cause, _) => Shown::Overloaded(cause),
        Shown::Works => Shown::Fails(cause.clone()),
        Shown::Fails(_) | Shown::Overloaded(_) => shown,
    }
}

/// What follows a row's head that has failed: it waits for its next attempt and its row with it, but no longer than
/// the row may be kept waiting; then it is given up, and the row goes on. Those behind it have one attempt each until
/// one is delivered, so that a row which fails for good does not keep a place for days.
pub(super) fn next(
    lane: &Lane,
    held: &Held,
    took: Duration,
    next: Option<Next>,
    cause: Cause,
) -> (Option<Next>, Cause) {
    let lasted = lane.head_failed(held, took, &cause);
    let patience = lane.shared.config.order_patience.saturating_sub(lasted);
    if let Some(Next::Moment(wait) | Next::Wait(wait)) = next
        && !patience.is_zero()
    {
        return (Some(Next::Moment(wait.min(patience))), cause);
    }
    let text = format!(
        "{}; given up after {} attempts, its row failing for {lasted:.1?}, while {} calls waited behind it in its \
         row's order",
        cause.text,
        held.call.attempts,
        lane.behind(held)
    );
    (Some(Next::GiveUp), Cause { text, ..cause })
}
