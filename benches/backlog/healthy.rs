//! Endpoints that work, each at its pace: their backlog moves at that pace.

use std::time::Duration;

use crate::Size;
use crate::spec::{Endpoint, Report, Trouble, seconds};
use crate::stage::{Measured, Stage, at_least};

/// Min share of the receiver's capacity.
pub const GOODPUT: f64 = 0.95;

/// Min pace of the second half, as a share of the whole run's pace, where the machine limits the pace.
const STEADY: f64 = 0.8;

/// CallThrottling of the webhook, in calls per second.
const THROTTLING: usize = 50;

/// Longer than any healthy backlog here takes, so a stuck backlog is reported as stuck.
fn patience(size: &Size, expected: usize, capacity: f64) -> Duration {
    size.patience + Duration::from_secs_f64(2.0 * expected as f64 / capacity)
}

/// Starts an instance with `changes` waiting for `webhooks` such endpoints, in turn, and measures until all arrive.
fn drain(size: &Size, endpoint: Endpoint, webhooks: usize, changes: usize) -> (Stage, Measured) {
    let stage = Stage::new(size, &vec![endpoint; webhooks]);
    stage.apply();
    stage.insert_in_turn(changes);
    let instance = stage.site.start();
    let patience = patience(size, changes, stage.capacity().unwrap_or(f64::INFINITY));
    let measured = stage.measure(&instance, changes, || stage.wait_for(changes, patience));
    (stage, measured)
}

/// An endpoint that takes `millis` per request, with a concurrency that makes a known number per second. Measured
/// from the first request to the last answer. An ideal sender takes `changes / capacity`.
///
/// The concurrency is within what an instance sends to one endpoint by default (256). For ten endpoints the total is
/// the same as for one, or nearly.
pub fn delay(size: &Size, millis: u64, webhooks: usize) -> Vec<String> {
    let (at_once, changes) = match (millis, webhooks) {
        (20, 1) => (20, size.changes),
        (20, _) => (2, size.changes),
        (200, 1) => (160, size.changes),
        (200, _) => (16, size.changes),
        (_, 1) => (200, size.changes),
        // Half the changes for half the capacity: 50 s in a full run.
        _ => (20, size.changes / 2),
    };
    let (stage, measured) = drain(size, Endpoint::new(millis, at_once), webhooks, changes);
    let capacity = stage.capacity().expect("it has a limit");
    let goodput = measured.report.distinct() as f64 / measured.report.seconds();
    let part = goodput / capacity;
    println!("{millis} ms, {webhooks} webhooks: goodput {part:.3} of {capacity:.0}/s; {measured}");
    demand(size, &measured, [at_least("goodput", part, GOODPUT)])
}

/// Endpoints that answer immediately: only the program limits the pace. No calls wait for them, so none are deferred.
/// The remaining check: the second half of a run is not slower than the whole. A shared machine makes it imprecise.
pub fn fast(size: &Size, webhooks: usize) -> Vec<String> {
    let (_, measured) = drain(size, Endpoint::new(0, 0), webhooks, size.fast_changes);
    let Report { half, .. } = measured.report;
    let whole = measured.report.distinct() as f64 / measured.report.seconds();
    let second_half = measured.report.distinct() as f64 / 2.0 / seconds(half, measured.report.last());
    let part = second_half / whole;
    println!("0 ms, {webhooks} webhooks: {whole:.0}/s, the second half at {part:.3} of that; {measured}");
    let mut failures = demand(size, &measured, [at_least("the second half's goodput", part, STEADY)]);
    if size.demands && measured.deferred > 0.0 {
        failures.push(format!("{} calls were deferred, although the endpoint answers immediately", measured.deferred));
    }
    failures
}

/// The instance runs for a tenth of the time, on any number of cores, so all its work is late. The endpoint does not
/// cause this, so no call is deferred.
pub fn starved(size: &Size) -> Vec<String> {
    const RUN: Duration = Duration::from_millis(10);
    const PAUSE: Duration = Duration::from_millis(90);
    let changes = size.fast_changes / 10;
    let stage = Stage::new(size, &[Endpoint::new(0, 0)]);
    stage.apply();
    stage.insert_in_turn(changes);
    let instance = stage.site.start();
    let patience = size.patience * 4;
    let measured =
        stage.measure(&instance, changes, || instance.pausing(RUN, PAUSE, || stage.wait_for(changes, patience)));
    println!("runs {RUN:?}, pauses {PAUSE:?}: {:.0}/s; {measured}", changes as f64 / measured.report.seconds());
    let mut failures = demand(size, &measured, []);
    if size.demands && measured.deferred > 0.0 {
        failures.push(format!("{} calls were deferred, although their endpoint works", measured.deferred));
    }
    failures
}

/// The endpoint accepts requests for a while without answering, then works as before.
pub fn stall(size: &Size) -> Vec<String> {
    let (after, lasting) = size.stall;
    let endpoint = Endpoint::new(200, 160).with(Trouble::Stalls { after, lasting });
    let (stage, measured) = drain(size, endpoint, 1, size.changes);
    let capacity = stage.capacity().expect("it has a limit");
    let ideal = measured.report.distinct() as f64 / capacity + lasting.as_secs_f64();
    let part = ideal / measured.report.seconds();
    println!("stall of {lasting:?}: goodput {part:.3} of {capacity:.0}/s less the stall; {measured}");
    demand(size, &measured, [at_least("goodput", part, GOODPUT)])
}

/// The endpoint answers each tenth request with 503 for a while, then works. Its capacity is in requests, so refused
/// requests count as goodput.
pub fn unavailable(size: &Size) -> Vec<String> {
    let lasting = size.unavailable;
    let endpoint = Endpoint::new(200, 80).with(Trouble::Unavailable { lasting });
    // Short waits, so that the last message does not wait for its retry schedule.
    let size = &Size { retry: Some(&["0s", "1s", "1s", "2s", "2s", "5s", "5s", "5s", "10s", "10s"]), ..*size };
    let (stage, measured) = drain(size, endpoint, 1, size.changes);
    let (capacity, report) = (stage.capacity().expect("it has a limit"), &measured.report);
    let part = (report.distinct() + report.refused()) as f64 / report.seconds() / capacity;
    let well = report.first() + lasting.as_micros() as u64;
    let after = (report.distinct() - report.before_well.min(report.distinct())) as f64;
    let after = after / seconds(well, report.last()) / capacity;
    println!(
        "10 % are answered 503 for {lasting:?}: goodput {part:.3} of {capacity:.0}/s, {after:.3} afterwards; {} \
         refused; {measured}",
        report.refused()
    );
    let demands = [at_least("goodput", part, GOODPUT), at_least("goodput afterwards", after, GOODPUT)];
    demand(size, &measured, demands)
}

/// A webhook with CallThrottling. An instance spaces calls by a twentieth more than necessary, so that no call is
/// early. The maximum is therefore 0.952.
pub fn throttled(size: &Size) -> Vec<String> {
    let stage = Stage::new(size, &[Endpoint::new(0, 0)]);
    let secret = "    Secret:";
    stage.site.apply(&stage.webhooks().replace(secret, &format!("    CallThrottling: {THROTTLING}\n{secret}")));
    stage.insert_in_turn(size.throttled_changes);
    let instance = stage.site.start();
    let patience = patience(size, size.throttled_changes, THROTTLING as f64);
    let changes = size.throttled_changes;
    let measured = stage.measure(&instance, changes, || stage.wait_for(changes, patience));
    // N calls have N - 1 pauses between them.
    let part = (measured.report.distinct() as f64 - 1.0) / measured.report.seconds() / THROTTLING as f64;
    println!("CallThrottling: goodput {part:.3} of {THROTTLING}/s; {measured}");
    demand(size, &measured, [at_least("goodput", part, GOODPUT)])
}

/// Messages for a fast endpoint whose row changes are behind all row changes of a slow one.
pub fn beside(size: &Size) -> Vec<String> {
    const FRESH: usize = 100;
    /// Max seconds from the slow endpoint's first request to the fast endpoint's last answer.
    const SOON: f64 = 5.0;
    let stage = Stage::new(size, &[Endpoint::new(200, 32), Endpoint::new(0, 0)]);
    stage.apply();
    let all = size.changes + FRESH;
    stage.insert(0..size.changes, |_| 0);
    stage.insert(size.changes..all, |_| 1);
    let instance = stage.site.start();
    let fresh = stage.receivers.wait_for(size.patience, |report| report.endpoints[1].distinct == FRESH);
    let [slow, fast] = [0, 1].map(|number| fresh.endpoints[number]);
    let late = |moment: Option<u64>| moment.map_or(f64::INFINITY, |moment| seconds(fresh.first(), moment));
    println!(
        "behind {} changes of a slow webhook: {} of {FRESH} messages of a fast one arrived, from {:.1} s to {:.1} s \
         after the first of the slow one, which then had {}",
        size.changes,
        fast.distinct,
        late(fast.first),
        late(fast.last),
        slow.distinct
    );
    let mut failures = Vec::new();
    if fast.distinct < FRESH {
        failures.push(format!("{} of {FRESH} messages of the fast webhook arrived", fast.distinct));
    }
    if size.demands {
        // The slow endpoint would take two minutes more, and other scenarios check that it gets all messages.
        let soon = (late(fast.last) > SOON).then(|| format!("the fast webhook waits for {:.1} s", late(fast.last)));
        failures.extend(soon);
        return failures;
    }
    failures.extend(stage.measure(&instance, all, || stage.wait_for(all, size.patience)).lost());
    failures
}

/// Failures of a scenario: lost messages always, the other checks only in a full run.
pub fn demand(size: &Size, measured: &Measured, further: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    let mut failures = measured.lost();
    if size.demands {
        failures.extend(measured.too_much());
        failures.extend(further.into_iter().flatten());
    }
    failures
}
