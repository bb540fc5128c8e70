//! Decides before an attempt whether to make it, and after it what happens to the call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::header::RETRY_AFTER;
use http::response::Parts;
use tracing::{info, warn};

use super::ordered;
use super::{Lane, Observation, QueuedCall};
use crate::deliver::attempt_log::{self, Attempted, PendingEntry, Sent};
use crate::deliver::health::EndpointRecovery;
use crate::deliver::policy::classify::{self, Class, Verdict};
use crate::deliver::policy::retry_after;
use crate::deliver::policy::schedule::NextAttempt;
use crate::deliver::transport::failure::AttemptFailure;
use crate::deliver::{Call, Cause, EndpointEvent, Outcome};
use crate::message_log::CallStatus;
use crate::time::since_1970;

/// Ends a call that must not be sent any more. Returns any other call.
pub(in crate::deliver) fn admit(lane: &Lane, queued: QueuedCall) -> Option<QueuedCall> {
    let message = &queued.call.message;
    if is_others(lane, &queued) {
        return None;
    }
    if message.live.has_ended() {
        lane.shared.metrics.cancelled.increment(1);
        attempt_log::end(&*lane.shared.onward, &queued.call, CallStatus::Cancelled, None);
        finish(queued, Outcome::Cancelled);
        return None;
    }
    if message.target.gone.load(Ordering::Relaxed) {
        let text = format!(
            "not sent to {}: webhook {} was stopped by a 410 response",
            lane.route.shown, message.target.webhook
        );
        let cause = Cause { class: Class::Gone.as_str(), status: None, text };
        attempt_log::end(&*lane.shared.onward, &queued.call, CallStatus::Exhausted, Some(&cause));
        exhausted(queued, cause);
        return None;
    }
    Some(queued)
}

/// Whether another instance sends this call in row order, now or later. Then it must not be sent here after later
/// calls of its row, and must not be dead-lettered here as well. It is dropped unsettled, so the other instance reads
/// its record again.
fn is_others(lane: &Lane, queued: &QueuedCall) -> bool {
    lane.key.is_in_order() && queued.call.receipt.is_revoked()
}

/// Classifies, counts and reports the result of an attempt, and acts on it. Returns the entry for the message log,
/// which is written when the body of the response has been read.
pub(in crate::deliver) fn conclude(
    lane: &Arc<Lane>,
    mut queued: QueuedCall,
    sent: Sent,
    head: Result<Parts, AttemptFailure>,
) -> Option<PendingEntry> {
    queued.call.attempts += 1;
    let counts = queued.call.message.live.counts();
    if queued.call.attempts == 1 {
        counts.call();
    }
    let took = sent.took;
    let (class, verdict) = match &head {
        Ok(head) => classify::status(head.status.as_u16(), asked_wait(head)),
        Err(failure) => classify::failure(failure),
    };
    let metrics = &lane.shared.metrics;
    metrics.attempted(class);
    metrics.attempt_seconds.record(took);
    if !matches!(verdict, Verdict::Delivered) {
        counts.error();
    }
    let code = head.as_ref().map_or_else(AttemptFailure::status, |head| Some(head.status.as_u16()));
    let note = |call: &Call, status, wait, cause: Option<&Cause>| {
        let attempted = Attempted { sent, class: class.as_str(), cause, code };
        PendingEntry::of(&*lane.shared.onward, call, (status, wait), attempted)
    };
    let after = match verdict {
        Verdict::Delivered => {
            lane.observe(Observation::Works, took);
            lane.head_worked(&queued);
            let note = note(&queued.call, CallStatus::Delivered, None, None);
            delivered(lane, queued);
            return note;
        }
        Verdict::Stop => None,
        Verdict::Retry { after } => Some(after),
    };
    let cause = cause(lane, class, &head);
    if verdict == Verdict::Stop {
        stop_webhook(lane, &queued.call, &cause);
    }
    tell_failure(lane, &queued.call, &cause, head.as_ref().err());
    if is_others(lane, &queued) {
        return None;
    }
    let is_in_order = lane.key.is_in_order();
    let shown = shown(class, after.flatten(), &cause);
    lane.observe(if is_in_order { ordered::shown(shown, &cause) } else { shown }, took);
    let (target, schedule) = (&queued.call.message.target, &lane.shared.schedule);
    let next = after.map(|after| schedule.next(target.retry.as_deref(), queued.call.attempts, after, fastrand::u32(..)));
    let (next, cause) = if is_in_order { ordered::next(lane, &queued, took, next, cause) } else { (next, cause) };
    let (status, wait) = match next {
        Some(NextAttempt::InMemory(wait) | NextAttempt::InTopic(wait)) => (CallStatus::WillRetry, Some(wait)),
        Some(NextAttempt::Never) | None => (CallStatus::Exhausted, None),
    };
    let note = note(&queued.call, status, wait, Some(&cause));
    match next {
        Some(NextAttempt::InMemory(wait)) => lane.push_later(queued, wait),
        // The call waits until its endpoint works again, which may be before or after its next attempt is due.
        Some(NextAttempt::InTopic(wait)) if lane.is_failing() => {
            lane.shared.overflow(queued.into_call(), wait, Some(&cause))
        }
        Some(NextAttempt::InTopic(wait)) => lane.shared.onward.wait(queued.into_call(), wait, Some(&cause)),
        Some(NextAttempt::Never) | None => exhausted(queued, cause),
    }
    note
}

/// What a failed attempt shows about the endpoint.
fn shown(class: Class, asked: Option<Duration>, cause: &Cause) -> Observation {
    match asked {
        Some(pause) if !pause.is_zero() => Observation::WantsPause(cause.clone(), pause),
        _ if class.is_overload() => Observation::Overloaded(cause.clone()),
        _ if class.is_trouble() => Observation::Fails(cause.clone()),
        _ => Observation::Works,
    }
}

fn delivered(lane: &Lane, queued: QueuedCall) {
    let metrics = &lane.shared.metrics;
    let now = since_1970().as_secs_f64();
    // Clocks differ between machines. A time in the future counts as no latency.
    let event_date = queued.call.message.event_date.at.as_duration().as_secs_f64();
    metrics.from_event_date.record((now - event_date).max(0.0));
    metrics.from_append.record((now - queued.call.appended_ms as f64 / 1e3).max(0.0));
    metrics.delivered.increment(1);
    if let Some(recovery) = lane.health.succeeded(Instant::now()) {
        info!(
            endpoint = &*lane.route.shown,
            webhook = %queued.call.message.target.webhook,
            "the endpoint works again, after {} failed attempts in {:.1?}", recovery.failures, recovery.lasted
        );
        let EndpointRecovery { failures, lasted } = recovery;
        tell(lane, &queued.call, &EndpointEvent::Recovered { failures, lasted });
    }
    finish(queued, Outcome::Delivered);
}

fn exhausted(queued: QueuedCall, cause: Cause) {
    tell(queued.slot.lane(), &queued.call, &EndpointEvent::Exhausted(&cause));
    queued.slot.lane().shared.metrics.exhausted.increment(1);
    finish(queued, Outcome::Exhausted { cause });
}

/// Passes the call on before its place is free, so that a stop which waits for empty lanes misses no call.
fn finish(queued: QueuedCall, outcome: Outcome) {
    let QueuedCall { call, slot, .. } = queued;
    slot.lane().shared.onward.finished(call, outcome);
}

/// Stops a webhook after a 410. Each instance with attempts under way reports this once; the definition is disabled
/// once.
fn stop_webhook(lane: &Lane, call: &Call, cause: &Cause) {
    let target = &call.message.target;
    if !target.gone.swap(true, Ordering::Relaxed) {
        warn!(
            endpoint = &*lane.route.shown,
            webhook = %target.webhook,
            "answered 410 Gone, so nothing more is sent for the webhook: change its URLs and enable it again, or delete it"
        );
        tell(lane, call, &EndpointEvent::Gone(cause));
    }
}

fn tell(lane: &Lane, call: &Call, news: &EndpointEvent<'_>) {
    lane.shared.onward.tell(call, &lane.route.shown, news);
}

fn cause(lane: &Lane, class: Class, head: &Result<Parts, AttemptFailure>) -> Cause {
    let shown = &lane.route.shown;
    let (status, text) = match head {
        Ok(head) => (Some(head.status.as_u16()), format!("{shown} answered {}", head.status)),
        Err(failure) => (failure.status(), format!("{shown}: {}", failure.public())),
    };
    Cause { class: class.as_str(), status, text }
}

/// Logs a failure with the details that only operators may see, and reports it without them.
fn tell_failure(lane: &Lane, call: &Call, cause: &Cause, failure: Option<&AttemptFailure>) {
    if lane.health.failed(Instant::now()) {
        let text = failure.map_or_else(|| cause.text.clone(), |failure| format!("{}: {failure}", lane.route.shown));
        warn!(
            endpoint = &*lane.route.shown,
            webhook = %call.message.target.webhook,
            class = cause.class,
            "the endpoint fails: {text}"
        );
        tell(lane, call, &EndpointEvent::Failing(cause));
    }
}

fn asked_wait(head: &Parts) -> Option<Duration> {
    retry_after::parse(head.headers.get(RETRY_AFTER)?.as_bytes(), SystemTime::now())
}
