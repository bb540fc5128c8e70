//! Calls in the overflow log: those of slow endpoints, failing endpoints and throttled webhooks.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harness::{Answer, Broker, Instance, Receiver, Site, eventually, webhooks};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

const INSERTS: &[&str] = &["EventType: table.recordInsert, ObjectName: slow"];
const OTHERS: &[&str] = &["EventType: table.recordInsert, ObjectName: quick"];

/// Duration of a call at the slow endpoint. Eight run at the same time.
const SLOW: Duration = Duration::from_millis(200);

fn inserts(table: &str, ids: std::ops::Range<usize>) -> Vec<(String, String)> {
    let record =
        |id| (format!("{table}-{id}"), format!(r#"{{"table":"{table}","operation":"insert","after":{{"id":{id}}}}}"#));
    ids.map(record).collect()
}

/// A slow and a quick endpoint, with settings that make a small backlog sufficient.
fn slow_and_quick(receiver: &Receiver) -> Site {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("delivery.concurrency", 8);
    site.set("delivery.queue_calls", 50);
    receiver.answer("/slow", Answer::Late(SLOW, 204));
    let (slow, quick) = ([receiver.url("/slow")], [receiver.url("/quick")]);
    site.apply(&webhooks(&[("slow", &slow, INSERTS), ("quick", &quick, OTHERS)]));
    site
}

/// The same with a breaker that opens after three failures and pauses for at most `pause`, and with long retry
/// delays.
fn with_breaker(receiver: &Receiver, pause: &str) -> Site {
    let mut site = slow_and_quick(receiver);
    site.set("delivery.breaker_failures", 3);
    site.set("delivery.breaker_pause", pause);
    site.set("delivery.retry", vec!["0s", "10m", "10m"]);
    site
}

fn distinct(receiver: &Receiver, path: &str) -> usize {
    receiver.requests(path).into_iter().map(|request| request.message_id).collect::<HashSet<_>>().len()
}

/// Number of records ever written to the overflow log and to the retry topics.
fn writes(site: &Site) -> (i64, i64) {
    let end = |topic: &str| Broker::get().ends(topic).iter().sum::<i64>();
    let tiers = ["200ms", "1s"].map(|tier| end(&format!("{}.{tier}", site.retries)));
    (end(&site.overflow), tiers.iter().sum())
}

#[test]
fn backlog_of_a_slow_endpoint_moves_at_its_pace_and_delays_no_other() {
    const CALLS: usize = 400;
    let receiver = Receiver::start();
    let site = slow_and_quick(&receiver);
    site.produce(inserts("slow", 0..CALLS));
    site.produce(inserts("quick", 0..10));
    let instance = site.start();
    receiver.wait("/quick", 10, SOON);
    let slow = receiver.requests("/slow").len();
    assert!(slow < CALLS / 2, "{slow} of {CALLS} calls of the slow endpoint arrived first");
    let all = receiver.wait("/slow", CALLS, SOON * 2);
    let took = all[CALLS - 1].at - all[0].at;
    // As long as eight calls at a time take. No pause was as long as the delay of a retry topic.
    let ideal = SLOW * (CALLS as u32 / 8 - 1);
    println!("{CALLS} calls took {took:?}, at best {ideal:?}; written {:?}", writes(&site));
    assert!(took < ideal * 2 + Duration::from_secs(5), "{took:?} instead of {ideal:?}");
    let (overflow, retries) = writes(&site);
    assert!(overflow > 0 && overflow <= CALLS as i64, "each is written once at most: {overflow}");
    assert_eq!(retries, 0, "nothing has failed");
    assert_eq!(instance.stop().code, Some(0));
    assert_eq!((distinct(&receiver, "/slow"), receiver.requests("/slow").len()), (CALLS, CALLS));
}

#[test]
fn stop_during_an_overflow_is_clean_and_repeats_nothing() {
    const CALLS: usize = 300;
    let receiver = Receiver::start();
    let site = slow_and_quick(&receiver);
    site.produce(inserts("slow", 0..CALLS));
    let first = site.start();
    receiver.wait("/slow", 60, SOON);
    eventually("the other calls wait", SOON, || (waiting(&first) > 50.0).then_some(()));
    let stopped = first.stop();
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    let second = site.start();
    receiver.wait("/slow", CALLS, SOON * 2);
    assert_eq!(second.stop().code, Some(0));
    assert_eq!((distinct(&receiver, "/slow"), receiver.requests("/slow").len()), (CALLS, CALLS));
}

#[test]
fn kill_during_an_overflow_loses_nothing() {
    const CALLS: usize = 300;
    let receiver = Receiver::start();
    let mut site = slow_and_quick(&receiver);
    site.set("kafka.session_timeout", "6s");
    site.produce(inserts("slow", 0..CALLS));
    let first = site.start();
    receiver.wait("/slow", 60, SOON);
    eventually("the other calls wait", SOON, || (waiting(&first) > 50.0).then_some(()));
    first.kill();
    let _second = site.start();
    eventually("all calls have arrived", SOON * 2, || (distinct(&receiver, "/slow") == CALLS).then_some(()));
    site.await_settled(SOON);
    let repeated = receiver.requests("/slow").len() - CALLS;
    println!("{repeated} were sent twice");
    assert!(
        repeated <= 70,
        "{repeated} were sent twice: more than were in flight or queued, or delivered since a commit"
    );
}

#[test]
fn calls_of_a_failing_endpoint_are_sent_as_soon_as_it_works_again() {
    const CALLS: usize = 200;
    let receiver = Receiver::start();
    let site = with_breaker(&receiver, "1s");
    receiver.answer("/slow", Answer::Status(500));
    let instance = site.start();
    site.produce(inserts("slow", 0..CALLS));
    eventually("nearly all calls wait", SOON, || (waiting(&instance) > CALLS as f64 * 0.8).then_some(()));
    site.await_settled(SOON);
    let (overflow, retries) = writes(&site);
    assert!(overflow + retries <= CALLS as i64 * 3 / 2, "{overflow} and {retries} written for {CALLS} calls");
    receiver.answer("/slow", Answer::Status(204));
    let well = Instant::now();
    eventually("all calls have arrived", SOON, || (delivered(&receiver) == CALLS).then_some(()));
    println!("all arrived {:?} after the endpoint worked", well.elapsed());
    assert_eq!(instance.stop().code, Some(0));
}

#[test]
fn endpoints_are_listed_with_waiting_calls_and_retried_on_request() {
    const CALLS: usize = 50;
    let receiver = Receiver::start();
    // Without an order to retry now, the next probe is far off.
    let site = with_breaker(&receiver, "10m");
    receiver.answer("/slow", Answer::With(503, "retry-after", "600".to_owned()));
    let instance = site.start();
    site.produce(inserts("slow", 0..CALLS));
    eventually("nearly all calls wait", SOON, || (waiting(&instance) > CALLS as f64 * 0.8).then_some(()));
    let list = || site.run(&["endpoints", "list", "--failing", "--json"]).stdout;
    let told = eventually("the endpoint is reported", SOON, || {
        let shown = serde_json::from_str::<serde_json::Value>(list().lines().next()?).ok()?;
        (shown["Waiting"].as_u64()? > CALLS as u64 * 8 / 10).then_some(shown)
    });
    assert_eq!(
        (&told["State"], &told["Breaker"], &told["Class"]),
        (&"fails".into(), &"open".into(), &"status_5xx".into())
    );
    assert_eq!(list().lines().count(), 1, "the quick endpoint does not fail");
    receiver.answer("/slow", Answer::Status(204));
    let nothing = site.run(&["endpoints", "retry-now"]);
    assert!(nothing.code == Some(2) && nothing.stderr.contains("--endpoint"), "{}", nothing.stderr);
    let ordered = site.run(&["endpoints", "retry-now", "--endpoint", &receiver.url("/slow")]);
    assert!(ordered.stdout.starts_with("1 endpoint is tried now"), "{}{}", ordered.stdout, ordered.stderr);
    eventually("the waiting calls have arrived", SOON, || (delivered(&receiver) > CALLS * 8 / 10).then_some(()));
    assert_eq!(instance.stop().code, Some(0));
}

/// The only endpoint in the list that has waiting calls, as JSON.
fn listed(site: &Site) -> Option<serde_json::Value> {
    let list = site.run(&["endpoints", "list", "--json"]).stdout;
    let shown = list.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON object"));
    shown.into_iter().find(|shown| shown["Waiting"].as_u64() > Some(0))
}

#[test]
fn call_that_waits_for_its_retry_is_listed_and_retried_on_request() {
    let receiver = Receiver::start();
    let mut site = with_breaker(&receiver, "1s");
    site.set("retries.tiers", vec!["1s", "10m"]);
    receiver.answer("/slow", Answer::Status(500));
    let instance = site.start();
    site.produce(inserts("slow", 0..1));
    let told = eventually("the call waits in its retry topic", SOON, || listed(&site));
    assert_eq!(told["WaitingIn"], serde_json::json!({"10m": 1}), "{told}");
    assert_ne!(told["State"], "fails", "one failed call does not count as failing");
    receiver.answer("/slow", Answer::Status(204));
    let ordered = site.run(&["endpoints", "retry-now", "--endpoint", &receiver.url("/slow")]);
    assert!(ordered.stdout.contains("1 call is waiting"), "{}{}", ordered.stdout, ordered.stderr);
    eventually("the call has arrived", SOON, || (delivered(&receiver) == 1).then_some(()));
    assert_eq!(instance.stop().code, Some(0));
}

#[test]
fn calls_in_retry_topics_are_sent_early_when_their_endpoint_recovers() {
    let receiver = Receiver::start();
    let mut site = with_breaker(&receiver, "1s");
    site.set("retries.tiers", vec!["1s", "10m"]);
    receiver.answer("/slow", Answer::Status(500));
    let instances = [site.start(), site.start()];
    // The first call fails before its endpoint counts as failing. It waits in a retry topic for its next attempt,
    // which is far off.
    site.produce(inserts("slow", 0..1));
    eventually("the call waits in its retry topic", SOON, || (waits_in(&instances, "10m") > 0.0).then_some(()));
    site.produce(inserts("slow", 1..50));
    eventually("the other calls wait in the overflow log", SOON, || {
        (waits_in(&instances, "overflow") > 30.0).then_some(())
    });
    // A shorter failure is not an outage.
    std::thread::sleep(Duration::from_secs(11));
    receiver.answer("/slow", Answer::Status(204));
    let well = Instant::now();
    eventually("all calls have arrived", SOON, || (delivered(&receiver) == 50).then_some(()));
    println!("all arrived {:?} after the endpoint worked", well.elapsed());
    for instance in instances {
        assert_eq!(instance.stop().code, Some(0));
    }
}

#[test]
fn large_messages_for_hanging_endpoints_delay_no_other() {
    let receiver = Receiver::start();
    let mut site = Site::new(OUTHOOK, 1);
    site.set("memory.budget_mib", 32);
    let hanging: Vec<_> = (0..30).map(|number| format!("/slow/{number}")).collect();
    hanging.iter().for_each(|path| receiver.answer(path, Answer::Hang));
    let urls: Vec<_> = hanging.iter().map(|path| receiver.url(path)).collect();
    site.apply(&webhooks(&[("slow", &urls, INSERTS), ("quick", &[receiver.url("/quick")], OTHERS)]));
    let text = "x".repeat(900_000);
    let large = |id| format!(r#"{{"table":"slow","operation":"insert","after":{{"id":{id},"text":"{text}"}}}}"#);
    site.produce((0..2).map(|id| (format!("slow-{id}"), large(id))));
    site.produce(inserts("quick", 0..20));
    let instance = site.start();
    let started = Instant::now();
    receiver.wait("/quick", 20, SOON);
    println!("the others arrived after {:?}", started.elapsed());
    // An attempt at a hanging endpoint takes 15 s.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    instance.kill();
}

/// Number of calls that wait at a place, by the metrics of the instances.
fn waits_in(instances: &[Instance], place: &str) -> f64 {
    let series = format!("outhook_calls_waiting{{where=\"{place}\"");
    let of = |instance: &Instance| {
        let metrics = instance.metrics();
        metrics.iter().filter(|(name, _)| name.starts_with(&series)).map(|(_, value)| value).sum::<f64>()
    };
    instances.iter().map(of).sum()
}

#[test]
fn account_lists_and_retries_its_endpoints_through_any_instance() {
    const CALLS: usize = 50;
    let receiver = Receiver::start();
    // Without an order to retry now, the next probe is far off.
    let site = with_breaker(&receiver, "10m");
    receiver.answer("/slow", Answer::With(503, "retry-after", "600".to_owned()));
    let (credentials, foreign) = (site.client(&[]), site.client(&["--account", "zoo"]));
    let instances = [site.start(), site.start()];
    site.produce(inserts("slow", 0..CALLS));
    let all_waiting = || instances.iter().map(waiting).sum::<f64>();
    eventually("nearly all calls wait", SOON, || (all_waiting() > CALLS as f64 * 0.8).then_some(()));
    // The instance that gets the request is not the one that reads the waiting calls.
    let [first, second] = &instances;
    let asked = if waiting(first) > waiting(second) { second } else { first };
    let api = asked.api(&credentials);
    let webhooks = api.get("/v3/outgoingWebhooks").body;
    let slow = webhooks.as_array().unwrap().iter().find(|webhook| webhook["Name"] == "slow").unwrap();
    let path = format!("/v3/outgoingWebhooks/{}/endpoints", slow["Id"].as_str().unwrap());
    let retry_now = format!("{path}/retryNow");
    let told = eventually("the endpoint is reported", SOON, || {
        let answer = api.get(&path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let shown = answer.body["Result"][0].clone();
        (shown["WaitingIn"]["overflow"].as_u64()? > CALLS as u64 * 8 / 10).then_some(shown)
    });
    let url = receiver.url("/slow");
    assert_eq!((&told["Url"], &told["State"], &told["Class"]), (&json!(url), &"fails".into(), &"status_5xx".into()));
    assert_eq!((&told["Breaker"], told["FailsSince"].is_string()), (&"open".into(), true), "{told}");
    assert!(told["OldestWaitingSince"].is_string() && !told["Cause"].to_string().contains("/slow"), "{told}");

    let theirs = asked.api(&foreign);
    for answer in [theirs.get(&path), theirs.send("POST", &retry_now, b"")] {
        assert_eq!((answer.status, answer.text("Code").as_str()), (404, "ObjectNotFound"), "{answer:?}");
    }
    let other = receiver.url("/quick");
    let unknown = api.post(&retry_now, &json!({ "Url": other }));
    assert_eq!((unknown.status, unknown.text("Code").as_str()), (400, "IncorrectBodyParameter"), "{unknown:?}");
    assert!(unknown.text("Message").contains(&format!("Url is {other:?}")), "{unknown:?}");

    let misnamed = api.post(&retry_now, &json!({ "Endpoint": url }));
    assert_eq!(misnamed.status, 400, "an unknown key must not select all endpoints: {misnamed:?}");

    receiver.answer("/slow", Answer::Status(204));
    assert_eq!(delivered(&receiver), 0, "nothing was retried without an order");
    let ordered = api.post(&retry_now, &json!({ "Url": url }));
    assert_eq!((ordered.status, &ordered.body["Endpoints"]), (202, &Value::from(1)), "{ordered:?}");
    assert!(ordered.body["Waiting"].as_u64().unwrap() > CALLS as u64 * 8 / 10, "{ordered:?}");
    eventually("the waiting calls have arrived", SOON, || (delivered(&receiver) > CALLS * 8 / 10).then_some(()));
    for instance in instances {
        assert_eq!(instance.stop().code, Some(0));
    }
}

#[test]
fn throttled_backlog_moves_at_the_throttle_rate_and_is_written_once() {
    const CALLS: usize = 200;
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.queue_wait", "100ms");
    let throttled = webhooks(&[("slow", &[receiver.url("/slow")], INSERTS)])
        .replace("Name: slow\n", "Name: slow\n    CallThrottling: 20\n");
    site.apply(&throttled);
    site.produce(inserts("slow", 0..CALLS));
    let instance = site.start();
    let all = receiver.wait("/slow", CALLS, SOON * 2);
    let took = all[CALLS - 1].at - all[0].at;
    println!("{CALLS} calls took {took:?} at 20 a second; written {:?}", writes(&site));
    assert!(took < Duration::from_secs(20), "{took:?}");
    let (overflow, retries) = writes(&site);
    assert!(overflow <= CALLS as i64 && retries == 0, "{overflow} and {retries} written for {CALLS} calls");
    assert_eq!(instance.stop().code, Some(0));
}

#[test]
fn waiting_calls_of_a_deleted_webhook_are_cancelled() {
    let receiver = Receiver::start();
    let mut site = slow_and_quick(&receiver);
    site.set("delivery.breaker_failures", 3);
    receiver.answer("/slow", Answer::Hang);
    site.set("delivery.first_byte_timeout", "500ms");
    site.set("delivery.timeout", "500ms");
    site.set("delivery.connect_timeout", "500ms");
    let instance = site.start();
    site.produce(inserts("slow", 0..100));
    eventually("the calls wait", SOON, || (waiting(&instance) > 50.0).then_some(()));
    let file = site.file("yaml", &webhooks(&[("quick", &[receiver.url("/quick")], OTHERS)]));
    let pruned = site.run(&["apply", "--prune", "-f", &file.display().to_string()]);
    assert_eq!(pruned.code, Some(0), "{}{}", pruned.stdout, pruned.stderr);
    eventually("no call waits any more", SOON, || (waiting(&instance) == 0.0).then_some(()));
    site.await_settled(SOON);
    assert_eq!(instance.stop().code, Some(0));
}

fn delivered(receiver: &Receiver) -> usize {
    let taken = receiver.requests("/slow").into_iter().filter(|request| request.answer.is_success());
    taken.map(|request| request.message_id).collect::<HashSet<_>>().len()
}

/// Number of calls in the overflow log, by the instance's metrics.
fn waiting(instance: &Instance) -> f64 {
    waits_in(std::slice::from_ref(instance), "overflow")
}

#[test]
fn overflow_partitions_are_split_evenly_after_a_late_join() {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("overflow.partitions", 8);
    let instances = [site.start(), site.start()];
    let parts = || {
        let owned =
            |instance: &Instance| instance.metrics().get(r#"outhook_assigned_partitions{of="overflow"}"#).copied();
        instances.iter().map(owned).collect::<Vec<_>>()
    };
    eventually("each has half of the calls per second", SOON, || (parts() == [Some(4.0), Some(4.0)]).then_some(()));
}

#[test]
fn overflow_log_continues_at_the_commit_of_earlier_versions() {
    let broker = Broker::get();
    let mut site = Site::new(OUTHOOK, 1);
    site.set("overflow.partitions", 1);
    let created = site.run(&["topics", "create"]);
    assert_eq!(created.code, Some(0), "{created:?}");
    // A record that is not a call becomes a dead letter as soon as it is read.
    (0..5).for_each(|_| broker.produce_raw(&site.overflow, None, Some(b"no call")));
    broker.commit(&format!("{}-retries", site.group), &site.overflow, 0, 3, "");
    let instance = site.start();
    broker.await_committed(&format!("{}-overflow", site.group), &site.overflow, SOON);
    assert_eq!(instance.metric("outhook_dead_letters_total"), 2.0);
    assert_eq!(instance.stop().code, Some(0));
}
