//! Topics and partitions that come later, records that are deleted before they are read, and the end of a log without a
//! record.

use std::time::Duration;

use harness::{Broker, Receiver, Site, eventually, inserted_orders, order};
use toml::{Table, Value};

use crate::{OUTHOOK, SOON};

/// Well over the ten seconds in which a new topic is noticed, and well under librdkafka's own five minutes.
const NOTICED: Duration = Duration::from_secs(60);

/// A site that reads these topics, each entry with the key of a source.
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
fn topics_and_partitions_that_come_later_are_read_within_seconds() {
    let broker = Broker::get();
    if !broker.is_kafka_for("partitions that are added") {
        return;
    }
    let (receiver, named, matched) = (Receiver::start(), broker.unique("late"), broker.unique("cdc"));
    let by_name = Value::from(vec![named.clone()]);
    let by_regex = Value::from(format!("{matched}[.].*"));
    let site = reading(&[("topics", by_name), ("topics_regex", by_regex)], &receiver);
    let said = site.run(&["check"]).stdout;
    assert!(said.contains(&format!("topic {named} is not there; it is read within 10s of its creation")), "{said}");
    assert!(said.contains("yet; one that does is read within 10s of its creation"), "{said}");

    let _instance = site.start();
    let topic = format!("{matched}.orders");
    broker.create_topic(&named, 1, &[]);
    broker.create_topic(&topic, 1, &[]);
    broker.produce(&named, [order(1)]);
    broker.produce(&topic, [order(2)]);
    receiver.wait("/orders", 2, NOTICED);
    broker.add_partitions(&topic, 6);
    // By their keys they go to all partitions, and none is left out.
    broker.produce(&topic, (3..33).map(order));
    receiver.wait("/orders", 32, NOTICED);
}

#[test]
fn records_that_retention_deletes_before_they_are_read_are_told_and_counted() {
    let broker = Broker::get();
    if !broker.is_kafka_for("records that are deleted") {
        return;
    }
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
        eventually("they are counted", SOON, || {
            (instance.metric("outhook_records_deleted_unread_total") == 7.0).then_some(())
        });
        site.await_settled(SOON);
        let said = instance.stop().stderr;
        let told = said.lines().find(|line| line.contains("deleted by the topic's retention")).unwrap_or_default();
        assert!(told.contains(r#""first":5"#) && told.contains(r#""last":11"#), "{protocol}: {said}");
    }
}

#[test]
fn a_partition_that_ends_with_markers_of_transactions_has_no_lag() {
    let broker = Broker::get();
    if !broker.is_kafka_for("transactions") {
        return;
    }
    let (receiver, site) = (Receiver::start(), Site::new(OUTHOOK, 1));
    site.apply(&inserted_orders("orders", &[receiver.url("/orders")]));
    let orders: Vec<_> = (0..6).map(|number| order(number).1).collect();
    let values: Vec<&[u8]> = orders.iter().map(String::as_bytes).collect();
    broker.produce_in_transaction(&site.changes, &values[..3], true);
    broker.produce_in_transaction(&site.changes, &values[3..5], false);
    let instance = site.start();
    receiver.wait("/orders", 3, SOON);
    site.await_settled(SOON);
    eventually("the lag is 0", SOON, || (instance.metric("outhook_lag_records") == 0.0).then_some(()));
    assert_eq!(broker.committed(&site.group, &site.changes), [Some(7)], "three, two, and a marker behind each");

    // What comes then is read, and counts as before.
    broker.produce_in_transaction(&site.changes, &values[5..], true);
    receiver.wait("/orders", 4, SOON);
    site.await_settled(SOON);
    eventually("the lag is 0", SOON, || (instance.metric("outhook_lag_records") == 0.0).then_some(()));
    instance.stop();

    // Nor does a partition have one in which nothing but markers is left to read.
    broker.produce_in_transaction(&site.changes, &values[..2], false);
    let instance = site.start();
    site.await_settled(SOON);
    assert_eq!(receiver.requests("/orders").len(), 4);
    instance.stop();
}
