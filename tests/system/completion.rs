//! Records that had settled after an unsettled one are not sent again, unless the topic was recreated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Answer, Broker, Receiver, Request, Site, eventually, order, webhooks};

use crate::{OUTHOOK, SOON};

/// Number of requests of each message, by path.
type Arrivals = Arc<Mutex<HashMap<String, HashMap<String, usize>>>>;

/// A site whose table `slow` has an endpoint that never answers, and a receiver that counts requests.
fn with_a_straggler(partitions: i32) -> (Site, Receiver, Arrivals) {
    let arrivals = Arrivals::default();
    let receiver = {
        let arrivals = arrivals.clone();
        Receiver::observed(move |Request { path, message_id, .. }: &Request| {
            let mut arrivals = arrivals.lock().expect("no holder panics");
            *arrivals.entry(path.clone()).or_default().entry(message_id.clone()).or_default() += 1;
        })
    };
    let mut site = Site::new(OUTHOOK, partitions);
    site.set("delivery.first_byte_timeout", "60s");
    site.set("delivery.timeout", "60s");
    let urls = ["/slow", "/orders"].map(|path| [receiver.url(path)]);
    let inserted = ["slow", "orders"].map(|table| format!("EventType: table.recordInsert, ObjectName: {table}"));
    site.apply(&webhooks(&[("slow", &urls[0], &[&inserted[0]]), ("orders", &urls[1], &[&inserted[1]])]));
    receiver.answer("/slow", Answer::Hang);
    (site, receiver, arrivals)
}

fn straggler(number: usize) -> (String, String) {
    let change =
        format!(r#"{{"id":"straggler-{number}","table":"slow","operation":"insert","after":{{"id":{number}}}}}"#);
    (number.to_string(), change)
}

/// Number of messages of a path, and number of requests.
fn came(arrivals: &Arrivals, path: &str) -> (usize, usize) {
    let arrivals = arrivals.lock().expect("no holder panics");
    arrivals.get(path).map_or((0, 0), |of| (of.len(), of.values().sum()))
}

#[track_caller]
fn await_messages(arrivals: &Arrivals, path: &str, count: usize, within: Duration) {
    eventually(&format!("{path} receives {count} messages"), within, || {
        (came(arrivals, path).0 >= count).then_some(())
    });
}

/// Waits until the commit's completion map says that this number of records directly after the first one has settled,
/// and returns the commit.
#[track_caller]
fn await_map(site: &Site, settled: usize) -> (i64, String) {
    let mut end = String::new();
    let mut rest = settled;
    while rest > 0 {
        let digit = rest % 32 + if rest >= 32 { 32 } else { 0 };
        end.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[digit]));
        rest /= 32;
    }
    // 0 further unsettled records, then this number of settled ones.
    let end = format!("A{end}.");
    eventually(&format!("a map that ends with {end}"), SOON, || {
        let [commit] = Broker::get().commits(&site.group, &site.changes).try_into().expect("there is one partition");
        commit.filter(|(_, metadata)| metadata.ends_with(&end))
    })
}

#[test]
fn calls_settled_behind_a_straggler_are_not_repeated_after_a_kill() {
    const SETTLED: usize = 50_000;
    const UNDER_WAY: usize = 8;
    let (mut site, receiver, arrivals) = with_a_straggler(1);
    site.set("kafka.session_timeout", "6s");
    site.set("delivery.concurrency", UNDER_WAY as i64);
    site.produce([straggler(0)]);
    site.produce((0..SETTLED).map(order));
    let started = Instant::now();
    let instance = site.start();
    await_messages(&arrivals, "/orders", SETTLED, Duration::from_secs(120));
    let (offset, map) = await_map(&site, SETTLED);
    println!("{SETTLED} settled in {:.1?}; committed {offset} {map:?}", started.elapsed());
    assert_eq!(offset, 0);

    // Some more records, which are in flight at the kill.
    receiver.answer("/orders", Answer::Hang);
    site.produce((SETTLED..SETTLED + 100).map(order));
    await_messages(&arrivals, "/orders", SETTLED + UNDER_WAY, SOON);
    assert_eq!(came(&arrivals, "/slow"), (1, 1));
    instance.kill();
    let before = came(&arrivals, "/orders");
    assert_eq!(before, (SETTLED + UNDER_WAY, SETTLED + UNDER_WAY));

    receiver.answer("/orders", Answer::Status(204));
    receiver.answer("/slow", Answer::Status(204));
    let instance = site.start();
    site.await_settled(SOON);
    let (messages, requests) = came(&arrivals, "/orders");
    let twice = requests - messages;
    println!("{twice} of {messages} messages were sent twice, and {UNDER_WAY} were under way at the kill");
    assert_eq!(messages, SETTLED + 100, "nothing is lost");
    assert!(twice <= UNDER_WAY, "{twice} were sent twice");
    assert_eq!(came(&arrivals, "/slow"), (1, 2), "the straggler is sent again");
    assert_eq!(instance.metric("outhook_records_completed_before_total"), SETTLED as f64);
}

/// A stop whose deadline passes leaves the straggler to the next instance, with both group protocols.
#[test]
fn calls_settled_behind_a_straggler_are_not_repeated_after_a_stop() {
    for protocol in ["classic", "consumer"] {
        let (mut site, receiver, arrivals) = with_a_straggler(1);
        site.set("kafka.group_protocol", protocol);
        site.set("drain.deadline", "500ms");
        site.produce([straggler(0)]);
        site.produce((0..1000).map(order));
        let instance = site.start();
        await_messages(&arrivals, "/orders", 1000, SOON);
        await_messages(&arrivals, "/slow", 1, SOON);
        let ended = instance.stop();
        let said = ended.stdout + &ended.stderr;
        assert!(said.contains("1 records left uncommitted"), "{protocol}: {said}");

        receiver.answer("/slow", Answer::Status(204));
        let _instance = site.start();
        site.await_settled(SOON);
        assert_eq!(came(&arrivals, "/slow"), (1, 2), "{protocol}");
        assert_eq!(came(&arrivals, "/orders"), (1000, 1000), "{protocol}");
    }
}

/// A partition that moves to another instance is drained first, as long as its stragglers take. Records that settle
/// meanwhile are committed as usual, so a kill in that time causes no repeated messages.
#[test]
fn calls_settled_during_a_drain_are_not_repeated_after_a_kill() {
    const EACH: usize = 8;
    let (mut site, receiver, arrivals) = with_a_straggler(2);
    site.set("kafka.session_timeout", "6s");
    site.set("drain.deadline", "60s");
    // In the other groups more than one partition moves.
    site.set("overflow.partitions", 4);
    site.produce((0..EACH).map(straggler));
    let first = site.start();
    await_messages(&arrivals, "/slow", EACH, SOON);
    // In flight until long after the drain has begun.
    receiver.answer("/orders", Answer::Late(Duration::from_secs(10), 204));
    site.produce((0..EACH).map(order));
    await_messages(&arrivals, "/orders", EACH, SOON);
    let second = site.launch();
    eventually("a drain begins", SOON, || first.said().contains("partitions are drained").then_some(()));
    assert_eq!(first.metric("outhook_calls_total"), 0.0, "nothing had settled by then");
    eventually("all orders are answered", SOON, || (first.metric("outhook_calls_total") >= EACH as f64).then_some(()));
    thread::sleep(Duration::from_secs(1));
    // The other groups have already moved partitions, but not just 1.
    let said = first.said();
    assert!(!said.contains(r#""partitions revoked","partitions":1,"#), "the drain is over: {said}");
    first.kill();
    receiver.answer("/slow", Answer::Status(204));
    receiver.answer("/orders", Answer::Status(204));
    site.await_settled(SOON);
    assert_eq!(second.metric("outhook_records_completed_before_total"), EACH as f64);
    assert_eq!((came(&arrivals, "/slow"), came(&arrivals, "/orders")), ((EACH, 2 * EACH), (EACH, EACH)));
}

#[test]
fn a_map_of_a_recreated_topic_loses_nothing() {
    const RECORDS: usize = 100;
    let (mut site, receiver, arrivals) = with_a_straggler(1);
    site.set("drain.deadline", "500ms");
    site.produce([straggler(0)]);
    site.produce((0..RECORDS).map(order));
    let instance = site.start();
    await_messages(&arrivals, "/orders", RECORDS, SOON);
    let (offset, map) = await_map(&site, RECORDS);
    instance.stop();

    let broker = Broker::get();
    broker.delete_topic(&site.changes);
    broker.create_topic(&site.changes, 1, &[]);
    site.produce((RECORDS..3 * RECORDS).map(order));
    // Kafka deletes the commits of a deleted topic, but not a commit that arrives later.
    broker.commit(&site.group, &site.changes, 0, offset, &map);
    assert_eq!(broker.commits(&site.group, &site.changes), [Some((offset, map))]);

    receiver.answer("/slow", Answer::Status(204));
    let instance = site.start();
    site.await_settled(SOON);
    assert_eq!(came(&arrivals, "/orders"), (3 * RECORDS, 3 * RECORDS), "each record of the new topic is sent");
    assert_eq!(instance.metric("outhook_records_completed_before_total"), 0.0);
}

/// Metadata of other programs does no harm.
#[test]
fn commit_metadata_of_other_programs_is_ignored() {
    let (site, receiver, arrivals) = with_a_straggler(1);
    site.produce((0..10).map(order));
    let broker = Broker::get();
    broker.commit(&site.group, &site.changes, 0, 3, "outhook2:é\u{0}…AAAA.");
    receiver.answer("/slow", Answer::Status(204));
    let _instance = site.start();
    site.await_settled(SOON);
    assert_eq!(came(&arrivals, "/orders"), (7, 7));
}
