//! Topics and partitions that are created later, records that are deleted before they are read, and partitions that
//! end without a record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use harness::{Answer, Broker, Receiver, Site, Stored, eventually, inserted_orders, order};
use toml::{Table, Value};

use crate::{OUTHOOK, SOON};

/// Well over the ten seconds in which a new topic is detected, and well under librdkafka's five minutes.
const NOTICED: Duration = Duration::from_secs(60);

/// A site that reads these topics. Each entry starts with the key of a source.
fn reading(sources: &[(&str, Value)], receiver: &Receiver) -> Site {
    let mut site = Site::new(OUTHOOK, 1);
    let source = |(key, topics): &(&str, Value)| {
        let others = [("format", "outhook".into()), ("account", "acme".into())];
        let all = others.into_iter().chain([(*key, topics.clone())]);
        all.map(|(key, value)| (key.to_owned(), value)).collect::<Table>()
    };
    site.set("sources", sources.iter().map(source).collect::<Vec<_>>());
    site.apply(&inserted_orders("orders", &[receiver.url("/orders")]));
    site
}

#[test]
fn topics_and_partitions_created_later_are_read_within_seconds() {
    let broker = Broker::get();
    let (receiver, named, matched) = (Receiver::start(), broker.unique("late"), broker.unique("cdc"));
    let by_name = Value::from(vec![named.clone()]);
    let by_regex = Value::from(format!("{matched}[.].*"));
    let site = reading(&[("topics", by_name), ("topics_regex", by_regex)], &receiver);
    let said = site.run(&["check"]).stdout;
    assert!(said.contains(&format!("topic {named} does not exist; it is read within 10s of its creation")), "{said}");
    assert!(said.contains("yet; a new one is read within 10s of its creation"), "{said}");

    let _instance = site.start();
    let topic = format!("{matched}.orders");
    broker.create_topic(&named, 1, &[]);
    broker.create_topic(&topic, 1, &[]);
    broker.produce(&named, [order(1)]);
    broker.produce(&topic, [order(2)]);
    receiver.wait("/orders", 2, NOTICED);
    broker.add_partitions(&topic, 6);
    // The keys are distributed over all partitions, so each partition must be read.
    broker.produce(&topic, (3..33).map(order));
    receiver.wait("/orders", 32, NOTICED);
}

#[test]
fn records_deleted_by_retention_before_the_read_are_logged_and_counted() {
    let broker = Broker::get();
    for protocol in ["classic", "consumer"] {
        let (receiver, mut site) = (Receiver::start(), Site::new(OUTHOOK, 1));
        site.set("kafka.group_protocol", protocol);
        site.apply(&inserted_orders("orders", &[receiver.url("/orders")]));
        site.produce((0..5).map(order));
        let instance = site.start();
        site.await_settled(SOON);
        assert_eq!(instance.metric("outhook_records_deleted_unread_total"), 0.0, "{protocol}");
        instance.stop();
        site.produce((5..15).map(order));
        broker.delete_before(&site.changes, 12);
        let warned = site.run(&["check"]).stdout;
        let expected = format!("offsets 5 to 11 of {}, partition 0, were deleted", site.changes);
        assert!(warned.contains(&expected), "{protocol}: {warned}");

        let instance = site.start();
        receiver.wait("/orders", 8, SOON);
        eventually("the deleted records are counted", SOON, || {
            (instance.metric("outhook_records_deleted_unread_total") == 7.0).then_some(())
        });
        site.await_settled(SOON);
        let said = instance.stop().stderr;
        let told = said.lines().find(|line| line.contains("deleted by the topic's retention")).unwrap_or_default();
        assert!(told.contains(r#""first":5"#) && told.contains(r#""last":11"#), "{protocol}: {said}");
    }
}

#[test]
fn partition_that_ends_with_transaction_markers_has_no_lag() {
    let broker = Broker::get();
    let (receiver, site) = (Receiver::start(), Site::new(OUTHOOK, 1));
    site.apply(&inserted_orders("orders", &[receiver.url("/orders")]));
    let values: Vec<_> = (0..6).map(|number| order(number).1).collect();
    broker.produce_in_transaction(&site.changes, 0, &values[..3], true);
    broker.produce_in_transaction(&site.changes, 0, &values[3..5], false);
    let instance = site.start();
    receiver.wait("/orders", 3, SOON);
    site.await_settled(SOON);
    eventually("the lag is 0", SOON, || (instance.metric("outhook_lag_records") == 0.0).then_some(()));
    assert_eq!(broker.committed(&site.group, &site.changes), [Some(7)], "three, two, and a marker after each");

    // Later records are read, and the lag is correct.
    broker.produce_in_transaction(&site.changes, 0, &values[5..], true);
    receiver.wait("/orders", 4, SOON);
    site.await_settled(SOON);
    eventually("the lag is 0", SOON, || (instance.metric("outhook_lag_records") == 0.0).then_some(()));
    instance.stop();

    // A partition whose unread rest contains only markers has no lag either.
    broker.produce_in_transaction(&site.changes, 0, &values[..2], false);
    let instance = site.start();
    site.await_settled(SOON);
    assert_eq!(receiver.requests("/orders").len(), 4);
    instance.stop();
}

/// Number of requests of each order.
type Came = Arc<Mutex<HashMap<usize, usize>>>;

/// Number of partitions. Each has committed transactions, each followed by an aborted one.
const PARTITIONS: i32 = 6;
const TRANSACTIONS: usize = 3;
/// Orders per transaction.
const ORDERS: usize = 12;

/// Writes these transactions. Returns the committed records.
fn write_transactions(broker: &Broker, topic: &str) -> Vec<Stored> {
    thread::scope(|scope| {
        for partition in 0..PARTITIONS {
            scope.spawn(move || {
                for transaction in 0..2 * TRANSACTIONS {
                    let first = (partition as usize * 2 * TRANSACTIONS + transaction) * ORDERS;
                    let values: Vec<_> = (first..first + ORDERS).map(|number| order(number).1).collect();
                    broker.produce_in_transaction(topic, partition, &values, transaction % 2 == 0);
                }
            });
        }
    });
    let written = broker.read_all(topic);
    assert_eq!(written.len(), PARTITIONS as usize * TRANSACTIONS * ORDERS);
    written
}

/// A receiver that answers late, so most fetched records wait in the client's queue until the reader has room.
fn slow_receiver(came: &Came) -> Receiver {
    let came = came.clone();
    let receiver = Receiver::observed(move |request| {
        *came.lock().expect("no holder panics").entry(number(&request.body)).or_default() += 1;
    });
    // At first longer than the time for which a position has to be stable.
    receiver.answer_first("/orders", vec![Answer::Late(Duration::from_secs(5), 204); 2 * PARTITIONS as usize]);
    receiver.answer("/orders", Answer::Late(Duration::from_millis(600), 204));
    receiver
}

/// The number of the order in a message's body.
fn number(body: &[u8]) -> usize {
    let message: serde_json::Value = serde_json::from_slice(body).expect("a message's body is JSON");
    message["data"][0]["id"].as_u64().expect("an order has a number") as usize
}

/// The records before the group's committed offset that were never sent.
fn skipped(site: &Site, written: &[Stored], came: &Came) -> Vec<String> {
    let committed = Broker::get().committed(&site.group, &site.changes);
    let came = came.lock().expect("no holder panics").clone();
    let is_behind = |record: &&Stored| committed[record.partition as usize].is_some_and(|end| record.offset < end);
    let has_come = |record: &&Stored| {
        let change: serde_json::Value =
            serde_json::from_slice(record.value.as_deref().expect("it has a value")).expect("it is JSON");
        came.contains_key(&(change["after"]["id"].as_u64().expect("it has a number") as usize))
    };
    let skipped = written.iter().filter(is_behind).filter(|record| !has_come(record));
    skipped.map(|record| format!("{}/{}", record.partition, record.offset)).collect()
}

/// The pause between checks. A wrong commit stays for seconds.
const LOOK: Duration = Duration::from_millis(50);

/// Sets the flag when it is dropped.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn rebalances_while_the_reader_is_full_skip_no_records() {
    let broker = Broker::get();
    let came = Came::default();
    let receiver = slow_receiver(&came);
    let mut site = Site::new(OUTHOOK, PARTITIONS);
    // Rebalances of this protocol stop no member, so readers keep running while a member joins.
    site.set("kafka.group_protocol", "consumer");
    site.set("memory.max_open_records", 2);
    // Calls to the slow endpoint stay open.
    for key in ["queue_wait", "first_byte_timeout", "timeout"] {
        site.set(&format!("delivery.{key}"), "60s");
    }
    // A late fetch refills the client's queue after a rebalance, and positions are reported rarely.
    site.set("kafka.properties.fetch.wait.max.ms", 3000);
    site.set("kafka.properties.statistics.interval.ms", 1000);
    site.apply(&inserted_orders("orders", &[receiver.url("/orders")]));
    let written = write_transactions(broker, &site.changes);

    let instance = site.start();
    let is_done = AtomicBool::new(false);
    let (looks, others) = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !is_done.load(Ordering::Relaxed) {
                assert_eq!(skipped(&site, &written, &came), [""; 0], "committed, and never sent");
                looks += 1;
                thread::sleep(LOOK);
            }
            looks
        });
        // On a panic too, because the scope waits for the checking thread.
        let _done = Done(&is_done);
        let mut others = Vec::new();
        let all = || came.lock().expect("no holder panics").len() == written.len();
        while !all() && !looking.is_finished() && others.len() < 20 {
            let other = site.start();
            thread::sleep(Duration::from_secs(1));
            others.push(other.stop());
            thread::sleep(Duration::from_secs(1));
        }
        is_done.store(true, Ordering::Relaxed);
        (looking.join(), others)
    });
    let looks = looks.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    site.await_settled(SOON);
    eventually("the lag is 0", SOON, || (instance.metric("outhook_lag_records") == 0.0).then_some(()));
    assert_eq!(skipped(&site, &written, &came), [""; 0], "all is committed, but not all was sent");
    let came = came.lock().expect("no holder panics").clone();
    let requests: usize = came.values().sum();
    println!("{} orders in {requests} requests, {} joins, {looks} checks", came.len(), others.len());
    assert_eq!(came.len(), written.len(), "no aborted order is sent");
    for ended in others.into_iter().chain([instance.stop()]) {
        // A reader that has skipped unread records reports that the offsets went back.
        let passed = ended.stderr.lines().filter(|line| line.contains("offsets went back")).collect::<Vec<_>>();
        assert_eq!(passed, [""; 0], "skipped without being read");
    }
}
