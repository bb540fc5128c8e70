//! A stop by SIGTERM loses nothing and sends nothing twice.

use std::collections::HashMap;
use std::time::Duration;

use harness::{Answer, Broker, Receiver, Site, inserted_orders, order};

use crate::{OUTHOOK, SOON};

const CHANGES: usize = 20_000;

#[test]
fn stop_under_load_drains_and_loses_or_repeats_nothing() {
    let (site, receiver) = (Site::new(OUTHOOK, 4), Receiver::start());
    // Slow responses, so that calls are in flight at the time of the stop.
    receiver.answer("/orders", Answer::Late(Duration::from_millis(5), 204));
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    site.produce((0..CHANGES).map(order));

    let instance = site.start();
    receiver.wait("/orders", CHANGES / 10, SOON);
    let ended = instance.stop();
    let before = receiver.requests("/orders").len();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!((ended.stdout + &ended.stderr).contains("drained"));
    assert!(before < CHANGES, "the stop came under load");

    let _instance = site.start();
    site.await_settled(Duration::from_secs(120));
    let mut arrivals: HashMap<String, usize> = HashMap::new();
    for request in receiver.requests("/orders") {
        *arrivals.entry(request.message_id).or_default() += 1;
    }
    let doubled = arrivals.values().filter(|count| **count > 1).count();
    println!("{CHANGES} changes, {before} before the stop, {} lost, {doubled} doubled", CHANGES - arrivals.len());
    assert_eq!((arrivals.len(), doubled), (CHANGES, 0));
}

#[test]
fn stop_that_exceeds_its_deadline_reports_it_and_loses_nothing() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("drain.deadline", "500ms");
    receiver.answer("/orders", Answer::Hang);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    site.produce([order(1)]);
    let instance = site.start();
    receiver.wait("/orders", 1, SOON);

    let ended = instance.stop();
    assert_ne!(ended.code, Some(0), "what was under way is not done");
    assert!((ended.stdout + &ended.stderr).contains("deadline"));

    receiver.answer("/orders", Answer::Status(204));
    let _instance = site.start();
    let attempts = receiver.wait("/orders", 2, SOON);
    assert_eq!(attempts[0].message_id, attempts[1].message_id);
    site.await_settled(SOON);
}

#[test]
fn instance_that_joins_during_a_drain_gets_nothing_twice() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 4), Receiver::start());
    receiver.answer("/orders", Answer::Late(Duration::from_millis(20), 204));
    site.set("delivery.concurrency", 8);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    site.produce((0..2_000).map(order));

    let leaving = site.start();
    receiver.wait("/orders", 200, SOON);
    leaving.ask_to_stop();
    let _joining = site.launch();
    let ended = leaving.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    site.await_settled(Duration::from_secs(120));
    // Calls that the slow endpoint did not get immediately wait, and arrive later.
    let requests = receiver.wait("/orders", 2_000, Duration::from_secs(120));
    let ids: Vec<String> = requests.into_iter().map(|request| request.message_id).collect();
    let unique = ids.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!((unique, ids.len()), (2_000, 2_000), "sent, and sent once");
}

#[test]
fn instance_fenced_by_the_same_instance_id_exits_with_the_reason() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("kafka.instance_id", "one");
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let first = site.start();
    let _second = site.start();
    let ended = first.wait();
    let said = ended.stdout + &ended.stderr;
    assert_eq!(ended.code, Some(1), "{said}");
    assert!(said.contains("another instance has the same kafka.instance_id"), "{said}");
}
