//! Decides before an attempt whether to make it, and after it what happens to the call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::header::RETRY_AFTER;
use http::response::Parts;
use tracing::{info, warn};

use super::{Lane, Observation, QueuedCall};
use crate::deliver::attempt_log::{self, AttemptResult, PendingEntry, SentAttempt};
use crate::deliver::health::EndpointRecovery;
use crate::deliver::policy::classify::{self, AttemptClass, Verdict};
use crate::deliver::policy::retry_after;
use crate::deliver::policy::schedule::NextAttempt;
use crate::deliver::transport::failure::AttemptFailure;
use crate::deliver::{Call, EndpointEvent, FailureCause, Outcome};
use crate::id::CallId;
use crate::message_log::CallStatus;
use crate::time::since_1970;

/// Returns a call that may be sent. Ends any other call, or drops it if another instance sends it.
pub(in crate::deliver) fn check_before_attempt(lane: &Lane, queued: QueuedCall) -> Option<QueuedCall> {
    let message = &queued.call.message;
    if lane.order.is_sent_elsewhere(&queued.call) {
        return None;
    }
    if message.event_state.has_ended() {
        lane.shared.metrics.cancelled.increment(1);
        attempt_log::log_ended_call(&*lane.shared.call_sink, &queued.call, CallStatus::Cancelled, None);
        finish(queued, Outcome::Cancelled);
        return None;
    }
    if message.target.is_gone.load(Ordering::Relaxed) {
        let text = format!(
            "not sent to {}: webhook {} was stopped by a 410 response",
            lane.route.origin, message.target.webhook
        );
        let cause = FailureCause { class: AttemptClass::Gone.as_str(), status: None, text };
        attempt_log::log_ended_call(&*lane.shared.call_sink, &queued.call, CallStatus::Exhausted, Some(&cause));
        dead_letter(queued, cause);
        return None;
    }
    Some(queued)
}

/// Classifies, counts and reports the result of an attempt, and acts on it. Returns the entry for the message log,
/// which is written when the body of the response has been read.
pub(in crate::deliver) fn conclude(
    lane: &Arc<Lane>,
    mut queued: QueuedCall,
    sent: SentAttempt,
    head: Result<Parts, AttemptFailure>,
) -> Option<PendingEntry> {
    queued.call.attempts += 1;
    let counts = queued.call.message.event_state.counters();
    if queued.call.attempts == 1 {
        counts.count_call();
    }
    let (class, verdict) = match &head {
        Ok(head) => classify::status(head.status.as_u16(), asked_wait(head)),
        Err(failure) => classify::failure(failure),
    };
    let metrics = &lane.shared.metrics;
    metrics.count_attempt(class);
    metrics.attempt_seconds.record(sent.duration);
    if verdict != Verdict::Delivered {
        counts.error();
        return failed(lane, queued, sent, (class, verdict, head));
    }
    lane.observe(Observation::Works, sent.duration);
    lane.order.delivered(lane, &queued);
    let attempted = AttemptResult { sent, class: class.as_str(), cause: None, http_status: status_of(&head) };
    let entry = PendingEntry::of(&*lane.shared.call_sink, &queued.call, (CallStatus::Delivered, None), attempted);
    delivered(lane, queued);
    entry
}

/// Reports a failed attempt, and decides what follows for the endpoint and the call.
fn failed(
    lane: &Arc<Lane>,
    queued: QueuedCall,
    sent: SentAttempt,
    (class, verdict, head): (AttemptClass, Verdict, Result<Parts, AttemptFailure>),
) -> Option<PendingEntry> {
    let cause = cause(lane, class, &head);
    if verdict == Verdict::Stop {
        stop_webhook(lane, &queued.call, &cause);
    }
    report_failure(lane, &queued.call, &cause, head.as_ref().err());
    if lane.order.is_sent_elsewhere(&queued.call) {
        return None;
    }
    let took = sent.duration;
    lane.observe(lane.order.failure(observation(class, verdict, &cause), &cause), took);
    let next = scheduled(lane, &queued.call, verdict);
    let (next, cause) = lane.order.next_after_failure(lane, &queued, took, next, cause);
    let logged = match next {
        NextAttempt::InMemory(wait) | NextAttempt::InTopic(wait) => (CallStatus::WillRetry, Some(wait)),
        NextAttempt::Never => (CallStatus::Exhausted, None),
    };
    let attempted = AttemptResult { sent, class: class.as_str(), cause: Some(&cause), http_status: status_of(&head) };
    let entry = PendingEntry::of(&*lane.shared.call_sink, &queued.call, logged, attempted);
    match next {
        NextAttempt::InMemory(wait) => lane.push_later(queued, wait),
        // The call waits until its endpoint works again, which may be before or after its next attempt is due.
        NextAttempt::InTopic(wait) if lane.is_failing() => {
            lane.shared.write_overflow(queued.into_call(), wait, Some(&cause))
        }
        NextAttempt::InTopic(wait) => lane.shared.call_sink.write_retry(queued.into_call(), wait, Some(&cause)),
        NextAttempt::Never => dead_letter(queued, cause),
    }
    entry
}

/// What follows a failed attempt by the retry schedule.
fn scheduled(lane: &Lane, call: &Call, verdict: Verdict) -> NextAttempt {
    match verdict {
        Verdict::Retry { asked_wait } => {
            let waits = call.message.target.retry.as_deref();
            let jitter = jitter_bits(call.message.call_id, call.attempts + call.deferrals);
            lane.shared.schedule.next(waits, call.attempts, asked_wait, jitter)
        }
        Verdict::Stop | Verdict::Delivered => NextAttempt::Never,
    }
}

/// Bits for the jitter of a wait. They depend only on the call and the number of its attempts and deferrals: after a
/// crash, both copies of a call go to the same retry topic, where the second is skipped.
fn jitter_bits(call: CallId, number: u32) -> u32 {
    fastrand::Rng::with_seed(call.0.as_u128() as u64 ^ u64::from(number)).u32(..)
}

/// What a failed attempt shows about the endpoint.
fn observation(class: AttemptClass, verdict: Verdict, cause: &FailureCause) -> Observation {
    match verdict {
        Verdict::Retry { asked_wait: Some(pause) } if !pause.is_zero() => Observation::WantsPause(cause.clone(), pause),
        _ if class.is_overload() => Observation::Overloaded(cause.clone()),
        _ if class.is_endpoint_failure() => Observation::Fails(cause.clone()),
        _ => Observation::Works,
    }
}

/// The HTTP status of an attempt, if it is known.
fn status_of(head: &Result<Parts, AttemptFailure>) -> Option<u16> {
    head.as_ref().map_or_else(AttemptFailure::status, |head| Some(head.status.as_u16()))
}

fn delivered(lane: &Lane, queued: QueuedCall) {
    let metrics = &lane.shared.metrics;
    let now = since_1970().as_secs_f64();
    // Clocks differ between machines. A time in the future counts as no latency.
    let event_date = queued.call.message.event_date.at.as_duration().as_secs_f64();
    metrics.from_event_date.record((now - event_date).max(0.0));
    metrics.from_append.record((now - queued.call.appended_ms as f64 / 1e3).max(0.0));
    metrics.delivered.increment(1);
    if let Some(recovery) = lane.health.record_success(Instant::now()) {
        info!(
            endpoint = &*lane.route.origin,
            webhook = %queued.call.message.target.webhook,
            "the endpoint works again, after {} failed attempts in {:.1?}", recovery.failures, recovery.duration
        );
        let EndpointRecovery { failures, duration: lasted } = recovery;
        report(lane, &queued.call, &EndpointEvent::Recovered { failures, lasted });
    }
    finish(queued, Outcome::Delivered);
}

fn dead_letter(queued: QueuedCall, cause: FailureCause) {
    let lane = queued.slot.lane();
    report(lane, &queued.call, &EndpointEvent::Exhausted(&cause));
    lane.shared.metrics.exhausted.increment(1);
    finish(queued, Outcome::Exhausted { cause });
}

impl Lane {
    /// Dead-letters a call for which the lane has no place.
    pub fn dead_letter(&self, call: Call, cause: FailureCause) {
        report(self, &call, &EndpointEvent::Exhausted(&cause));
        self.shared.metrics.exhausted.increment(1);
        attempt_log::log_ended_call(&*self.shared.call_sink, &call, CallStatus::Exhausted, Some(&cause));
        self.shared.call_sink.finish(call, Outcome::Exhausted { cause });
    }
}

/// Passes the call on before its place is free, so that a stop which waits for empty lanes misses no call.
fn finish(queued: QueuedCall, outcome: Outcome) {
    let QueuedCall { call, slot, .. } = queued;
    slot.lane().shared.call_sink.finish(call, outcome);
}

/// Stops a webhook after a 410. Each instance with attempts under way reports this once; the definition is disabled
/// once.
fn stop_webhook(lane: &Lane, call: &Call, cause: &FailureCause) {
    let target = &call.message.target;
    if !target.is_gone.swap(true, Ordering::Relaxed) {
        warn!(
            endpoint = &*lane.route.origin,
            webhook = %target.webhook,
            "answered 410 Gone, so nothing more is sent for the webhook: change its URLs and enable it again, or delete it"
        );
        report(lane, call, &EndpointEvent::Gone(cause));
    }
}

fn report(lane: &Lane, call: &Call, news: &EndpointEvent<'_>) {
    lane.shared.call_sink.report_endpoint_event(call, &lane.route.origin, news);
}

fn cause(lane: &Lane, class: AttemptClass, head: &Result<Parts, AttemptFailure>) -> FailureCause {
    let endpoint = &lane.route.origin;
    let (status, text) = match head {
        Ok(head) => (Some(head.status.as_u16()), format!("{endpoint} answered {}", head.status)),
        Err(failure) => (failure.status(), format!("{endpoint}: {}", failure.public())),
    };
    FailureCause { class: class.as_str(), status, text }
}

/// Logs a failure with the details that only operators may see, and reports it without them.
fn report_failure(lane: &Lane, call: &Call, cause: &FailureCause, failure: Option<&AttemptFailure>) {
    if lane.health.record_failure(Instant::now()) {
        let text = failure.map_or_else(|| cause.text.clone(), |failure| format!("{}: {failure}", lane.route.origin));
        warn!(
            endpoint = &*lane.route.origin,
            webhook = %call.message.target.webhook,
            class = cause.class,
            "the endpoint fails: {text}"
        );
        report(lane, call, &EndpointEvent::Failing(cause));
    }
}

fn asked_wait(head: &Parts) -> Option<Duration> {
    retry_after::parse(head.headers.get(RETRY_AFTER)?.as_bytes(), SystemTime::now())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn copies_of_a_call_have_the_same_jitter_and_attempts_another() {
        let call = |number| CallId(Uuid::from_u128(number));
        assert_eq!(jitter_bits(call(7), 1), jitter_bits(call(7), 1));
        let bits: Vec<u32> =
            (0..4).flat_map(|id| (0..4).map(move |number| jitter_bits(call(id << 8), number))).collect();
        let low = bits.iter().filter(|bits| **bits < u32::MAX / 2).count();
        assert!((3..=13).contains(&low), "not spread: {bits:x?}");
    }
}
