//! What comes before and after an attempt: whether it is made, and whether its call is finished or queued again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::header::RETRY_AFTER;
use http::response::Parts;
use tracing::{info, warn};

use super::classify::{self, Class, Verdict};
use super::failure::Failure;
use super::lane::{Held, Lane};
use super::schedule::Next;
use super::{Call, Cause, Outcome, retry_after};
use crate::matching::Target;

/// Ends a call that is no longer to be made, and gives back any other.
pub(super) fn admit(lane: &Lane, held: Held) -> Option<Held> {
    let message = &held.call.message;
    if message.live.has_ended() {
        lane.shared.metrics.cancelled.increment(1);
        finish(held, Outcome::Cancelled);
        return None;
    }
    if message.target.gone.load(Ordering::Relaxed) {
        let text = format!("not sent to {}: webhook {} is stopped by a 410", lane.route.shown, message.target.webhook);
        exhausted(held, Cause { class: Class::Gone.as_str(), status: None, text });
        return None;
    }
    Some(held)
}

/// Classifies, counts and tells how an attempt ended, and acts on it.
pub(super) fn conclude(lane: &Arc<Lane>, mut held: Held, took: Duration, head: Result<Parts, Failure>) {
    held.call.attempts += 1;
    let counts = held.call.message.live.counts();
    if held.call.attempts == 1 {
        counts.call();
    }
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
    let after = match verdict {
        Verdict::Delivered => return delivered(lane, held),
        Verdict::Stop => {
            stop_webhook(lane, &held.call.message.target);
            None
        }
        Verdict::Retry { after } => Some(after),
    };
    let cause = cause(lane, class, &head);
    tell_failure(lane, &held.call, &cause);
    let schedule = &lane.shared.schedule;
    match after.map(|after| {
        schedule.next(held.call.message.target.retry.as_deref(), held.call.attempts, after, random(&held.call))
    }) {
        Some(Next::Wait(wait)) => lane.push_later(held, wait),
        Some(Next::GiveUp) | None => exhausted(held, cause),
    }
}

fn delivered(lane: &Lane, held: Held) {
    let metrics = &lane.shared.metrics;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    // Clocks differ between machines: what seems to come from the future has taken no time.
    let event_date = held.call.message.event_date.at.as_duration().as_secs_f64();
    metrics.from_event_date.record((now - event_date).max(0.0));
    metrics.from_append.record((now - held.call.appended_ms as f64 / 1e3).max(0.0));
    metrics.delivered.increment(1);
    if let Some(recovery) = lane.health.succeeded(Instant::now()) {
        info!(
            endpoint = &*lane.route.shown,
            webhook = %held.call.message.target.webhook,
            "the endpoint works again, after {} failed attempts in {:.1?}", recovery.failures, recovery.lasted
        );
    }
    finish(held, Outcome::Delivered);
}

fn exhausted(held: Held, cause: Cause) {
    held.room.lane().shared.metrics.exhausted.increment(1);
    finish(held, Outcome::Exhausted { cause });
}

/// Hands the call on before its room is free, so that no call is nowhere while lanes are waited for.
fn finish(held: Held, outcome: Outcome) {
    let Held { call, room } = held;
    (room.lane().shared.on_finished)(call, outcome);
}

fn stop_webhook(lane: &Lane, target: &Target) {
    if !target.gone.swap(true, Ordering::Relaxed) {
        warn!(
            endpoint = &*lane.route.shown,
            webhook = %target.webhook,
            "answered 410 Gone, so this instance sends nothing more for the webhook and its calls become dead \
             letters: change the webhook's URLs, or disable or delete it; a change or a restart sends again"
        );
    }
}

fn cause(lane: &Lane, class: Class, head: &Result<Parts, Failure>) -> Cause {
    let shown = &lane.route.shown;
    let (status, text) = match head {
        Ok(head) => (Some(head.status.as_u16()), format!("{shown} answered {}", head.status)),
        Err(failure) => (failure.status(), format!("{shown}: {failure}")),
    };
    Cause { class: class.as_str(), status, text }
}

fn tell_failure(lane: &Lane, call: &Call, cause: &Cause) {
    if lane.health.failed(Instant::now()) {
        warn!(
            endpoint = &*lane.route.shown,
            webhook = %call.message.target.webhook,
            class = cause.class,
            "the endpoint fails: {}", cause.text
        );
    }
}

fn asked_wait(head: &Parts) -> Option<Duration> {
    retry_after::parse(head.headers.get(RETRY_AFTER)?.as_bytes(), SystemTime::now())
}

/// A number for the jitter. A call's id is a hash, so its bits are as good as random, and other ones serve
/// each attempt.
fn random(call: &Call) -> u32 {
    (call.message.call.0.as_u128() >> (call.attempts * 5 % 24)) as u32
}
