//! Definitions change while the program runs, by several writers, and with invalid records among them.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use harness::{Answer, Broker, Receiver, Site, eventually, inserted_orders, order, webhooks};

use crate::{EFFECTIVE, OUTHOOK, SOON};

/// The numbers of the orders that arrived at a path.
fn orders(receiver: &Receiver, path: &str) -> Vec<usize> {
    let row = |body: &[u8]| {
        let message: serde_json::Value = serde_json::from_slice(body).expect("a message's body is JSON");
        message["data"][0]["id"].as_u64().expect("an order has a number") as usize
    };
    receiver.requests(path).iter().map(|request| row(&request.body)).collect()
}

/// Produces orders one by one for this time. Returns their numbers and times.
fn produce_for(site: &Site, from: usize, duration: Duration) -> Vec<(usize, Instant)> {
    let end = Instant::now() + duration;
    let mut produced = Vec::new();
    for number in from.. {
        let now = Instant::now();
        if now >= end {
            break;
        }
        site.produce([order(number)]);
        produced.push((number, now));
    }
    produced
}

#[test]
fn a_change_is_effective_without_a_restart() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("first", &[receiver.url("/first")]));
    let _instance = site.start();

    site.apply(&inserted_orders("second", &[receiver.url("/second")]));
    let applied = Instant::now();
    let produced = produce_for(&site, 0, EFFECTIVE + Duration::from_secs(1));
    site.await_settled(SOON);
    let expected: Vec<_> = produced.iter().filter(|(_, at)| *at >= applied + EFFECTIVE).map(|(n, _)| *n).collect();
    let arrived = orders(&receiver, "/second");
    assert!(expected.len() > 5 && expected.iter().all(|number| arrived.contains(number)), "{expected:?} {arrived:?}");

    let file = site.file("yaml", &inserted_orders("first", &[receiver.url("/first")]));
    let pruned = site.run(&["apply", "--prune", "-f", &file.display().to_string()]);
    assert_eq!(pruned.code, Some(0), "{}{}", pruned.stdout, pruned.stderr);
    let removed = Instant::now();
    let produced = produce_for(&site, 10_000, EFFECTIVE + Duration::from_secs(1));
    site.await_settled(SOON);
    let arrived = orders(&receiver, "/second");
    let late = produced.iter().filter(|(number, at)| *at >= removed + EFFECTIVE && arrived.contains(number)).count();
    assert_eq!(late, 0, "nothing is sent for a webhook that is gone");
    assert!(
        produced.iter().all(|(number, _)| orders(&receiver, "/first").contains(number)),
        "the other webhook still gets messages"
    );
}

#[test]
fn waiting_retry_is_cancelled_when_its_webhook_is_deleted() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["4s"; 5]);
    receiver.answer("/failing", Answer::Status(503));
    site.apply(&inserted_orders("failing", &[receiver.url("/failing")]));
    let instance = site.start();
    site.produce([order(1)]);
    receiver.wait("/failing", 1, SOON);

    let file = site.file("yaml", &inserted_orders("other", &[receiver.url("/other")]));
    let pruned = site.run(&["apply", "--prune", "-f", &file.display().to_string()]);
    assert_eq!(pruned.code, Some(0), "{}{}", pruned.stdout, pruned.stderr);
    harness::eventually("the call is cancelled when it is due", SOON, || {
        (instance.metrics().get("outhook_calls_total{outcome=\"cancelled\"}") == Some(&1.0)).then_some(())
    });
    assert_eq!(receiver.requests("/failing").len(), 1);
    assert_eq!(Broker::get().read_all(&site.dead_letters).len(), 0);
}

#[test]
fn applying_the_same_file_again_writes_nothing() {
    let site = Site::new(OUTHOOK, 1);
    let yaml = inserted_orders("shipping", &["http://127.0.0.1:9/".to_owned()]);
    let file = site.file("yaml", &yaml).display().to_string();
    let dry = site.run(&["apply", "--dry-run", "-f", &file]);
    assert_eq!(dry.code, Some(0), "{}{}", dry.stdout, dry.stderr);
    assert!(dry.stdout.contains("shipping"), "the diff names the new webhook: {}", dry.stdout);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), 0, "a dry run writes nothing");

    site.apply(&yaml);
    let written = Broker::get().read_all(&site.definitions).len();
    assert!(written >= 2, "a webhook and an event");
    site.apply(&yaml);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), written, "nothing is written twice");

    let got = site.run(&["get"]);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    site.apply(&got.stdout);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), written, "apply accepts the output of get");
}

#[test]
fn a_recreated_definitions_topic_counts_from_its_start() {
    let broker = Broker::get();
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("old", &[receiver.url("/old")]));
    let instance = site.start();
    broker.delete_topic(&site.definitions);
    broker.create_topic(&site.definitions, 1, &[("cleanup.policy", "compact")]);
    site.apply(&inserted_orders("new", &[receiver.url("/new")]));

    let mut number = 0;
    eventually("the new webhook's message", SOON, || {
        number += 1;
        site.produce([order(number)]);
        (!receiver.requests("/new").is_empty()).then_some(())
    });
    let old = receiver.requests("/old").len();
    site.produce([order(1_000)]);
    receiver.wait("/new", 2, SOON);
    site.await_settled(SOON);
    assert_eq!(receiver.requests("/old").len(), old, "the old webhook is gone with its topic");
    assert!(instance.said().contains("was recreated"), "{}", instance.said());
}

#[test]
fn bad_definition_record_is_counted_and_named_and_others_apply() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let bad = Broker::get().ends(&site.definitions)[0];
    Broker::get().produce_raw(&site.definitions, Some(b"webhook/abc123"), Some(b"{\"name\":"));
    let instance = site.start();

    site.produce([order(1)]);
    receiver.wait("/orders", 1, SOON);
    let check = site.run(&["check"]);
    let said = check.stdout + &check.stderr;
    assert!(said.contains("webhook/abc123") && said.contains(&format!("offset {bad}")), "{said}");
    assert_ne!(check.code, Some(0), "a check that finds something wrong fails");
    assert_eq!(instance.metric("outhook_definitions_bad"), 1.0);
}

#[test]
fn one_of_two_concurrent_writers_creates_the_event() {
    let site = Site::new(OUTHOOK, 1);
    for round in 0..5 {
        let name = format!("round-{round}");
        let both = Barrier::new(2);
        let write = |url: &str| {
            let yaml = inserted_orders(&name, &[url.to_owned()]);
            let file = site.file("yaml", &yaml).display().to_string();
            both.wait();
            site.run(&["apply", "-f", &file])
        };
        let (one, two) = std::thread::scope(|scope| {
            let two = scope.spawn(|| write("http://127.0.0.1:9/two"));
            (write("http://127.0.0.1:9/one"), two.join().expect("the writer does not panic"))
        });
        for ended in [&one, &two] {
            assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        }
        let got = site.run(&["get"]).stdout;
        assert_eq!(got.matches(&format!("Name: {name}\n")).count(), 1, "one webhook of a name:\n{got}");
        assert_eq!(got.matches("EventType:").count(), round + 1, "one insert event of a webhook:\n{got}");
    }
}

#[test]
fn one_webhook_may_not_have_two_insert_events_for_a_table() {
    let site = Site::new(OUTHOOK, 1);
    let event = "EventType: table.recordInsert, ObjectName: orders";
    let yaml = webhooks(&[("twice", &["http://127.0.0.1:9/".to_owned()], &[event, event])]);
    let file = site.file("yaml", &yaml).display().to_string();
    let refused = site.run(&["apply", "-f", &file]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("orders") && refused.stderr.contains("table.recordInsert"), "{}", refused.stderr);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), 0);
}
