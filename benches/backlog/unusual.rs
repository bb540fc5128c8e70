//! Backlogs after an endpoint's absence, of a replay, and with a kill of the instance in the middle.

use std::thread;
use std::time::Duration;

use harness::Broker;

use crate::Size;
use crate::healthy::{GOODPUT, demand};
use crate::spec::{Endpoint, Trouble, seconds};
use crate::stage::{Stage, at_least};

/// Max time from the first message to the last, as a multiple of the ideal time.
const RECOVERY: f64 = 1.2;
/// Max seconds from the probe that finds the endpoint working to the next message.
const AT_ONCE: f64 = 5.0;

/// Max messages that a kill sends again in a full run: those in flight, and those whose outcome was not committed
/// yet.
const REPEATED: usize = 2_000;

/// The endpoint refuses connections for a long time while the whole backlog waits, then works. The instance detects
/// this by a probe, up to `delivery.breaker_pause` later. That probe is the first message, and the rest is measured
/// from it.
pub fn recovery(size: &Size) -> Vec<String> {
    let stage = Stage::new(size, &[Endpoint::new(20, 20).with(Trouble::Away)]);
    stage.apply();
    stage.insert_in_turn(size.changes);
    let instance = stage.site.start();
    let ideal = size.changes as f64 / stage.capacity().expect("it has a limit");
    let patience = size.patience + size.away + Duration::from_secs_f64(3.0 * ideal);
    let measured = stage.measure(&instance, size.changes, || {
        thread::sleep(size.away);
        stage.receivers.recover();
        stage.wait_for(size.changes, patience)
    });
    let report = &measured.report;
    let found = seconds(report.recovered.expect("recover was called"), report.first());
    let next = seconds(report.first(), report.second);
    let part = report.seconds() / ideal;
    println!(
        "away for {:?}: first message {found:.1} s after the recovery, the next {next:.1} s later, the last after \
         {part:.2} of the ideal {ideal:.1} s, 99 % after {:.2}; {measured}",
        size.away,
        seconds(report.first(), report.nearly_all) / ideal,
    );
    let mut failures = measured.lost();
    if size.demands {
        failures.extend(measured.too_large());
        failures
            .extend((part > RECOVERY).then(|| format!("the last message arrives after {part:.2} of the ideal time")));
        failures.extend((next > AT_ONCE).then(|| format!("the message after the probe arrives {next:.1} s later")));
    }
    failures
}

/// Replays row changes that matched no webhook to a webhook created later, without `--rate`.
pub fn replay(size: &Size) -> Vec<String> {
    let stage = Stage::new(size, &[Endpoint::new(20, 40)]);
    stage.insert_in_turn(size.replayed_changes);
    let instance = stage.site.start();
    stage.site.await_settled(Duration::from_secs(60));
    stage.apply();
    let webhook = webhook_id(&stage);
    let capacity = stage.capacity().expect("it has a limit");
    let patience = size.patience + Duration::from_secs_f64(2.0 * size.replayed_changes as f64 / capacity);
    let arguments = ["replay", "--topic", &stage.site.changes, "--from", "0", "--webhook", &webhook];
    let replaying = stage.site.begin(&arguments);
    let expected = size.replayed_changes;
    let measured = stage.measure(&instance, expected, || stage.wait_for(expected, patience));
    let ended = replaying.wait();
    let part = measured.report.distinct() as f64 / measured.report.seconds() / capacity;
    println!("replay: goodput {part:.3} of {capacity:.0}/s; {measured}");
    let mut failures = demand(size, &measured, [at_least("goodput", part, GOODPUT)]);
    if ended.code != Some(0) {
        failures.push(format!("replay ends with {:?}: {}", ended.code, ended.stderr));
    }
    failures
}

/// The id of the only webhook, read from the definitions topic.
fn webhook_id(stage: &Stage) -> String {
    let keys = Broker::get().read_all(&stage.site.definitions).into_iter().filter_map(|record| record.key);
    let keys = keys.filter_map(|key| String::from_utf8(key).ok());
    let id = keys.filter_map(|key| Some(key.strip_prefix("webhook/")?.to_owned())).next();
    id.expect("the webhook was just defined")
}

/// The instance is killed with -9 after a third of the messages, and another one takes over.
pub fn killed(size: &Size) -> Vec<String> {
    let stage = Stage::new(size, &[Endpoint::new(200, 160)]);
    stage.apply();
    stage.insert_in_turn(size.changes);
    let first = stage.site.start();
    let before = stage.wait_for(size.changes / 3, size.patience).distinct();
    first.kill();
    let second = stage.site.start();
    let patience = size.patience + Duration::from_secs_f64(2.0 * size.changes as f64 / 800.0);
    let measured = stage.measure(&second, size.changes, || stage.wait_for(size.changes, patience));
    let repeated = measured.report.repeated();
    println!("killed after {before} messages: {measured}");
    let mut failures = measured.lost();
    if size.demands {
        failures.extend(measured.too_large());
        failures.extend((repeated > REPEATED).then(|| format!("{repeated} messages were sent again after a kill")));
    }
    failures
}
