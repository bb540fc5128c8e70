//! Recreated topics: the group's offsets and the records' places are those of the deleted topic.

use std::collections::{BTreeMap, BTreeSet};

use harness::{Broker, Receiver, Request, Site, inserted_orders};

use crate::{OUTHOOK, SOON};

/// Number of records of the old topic.
const OLD: usize = 50;

/// The insert of an order without a change id.
fn order_without_id(number: usize) -> (String, String) {
    (number.to_string(), format!(r#"{{"table":"orders","operation":"insert","after":{{"id":{number}}}}}"#))
}

fn number(request: &Request) -> usize {
    let body = String::from_utf8_lossy(&request.body);
    let digits = body.split(r#""id":"#).nth(1).expect("the row is in the body").split(['}', ',']);
    digits.into_iter().next().and_then(|digits| digits.parse().ok()).expect("the row's id is a number")
}

/// A site with a webhook whose topic was read to its end, and the commit of its only partition.
fn settled(protocol: &str) -> (Site, Receiver, (i64, String)) {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("kafka.group_protocol", protocol);
    site.apply(&inserted_orders("orders", &[receiver.url("/orders")]));
    site.produce((0..OLD).map(order_without_id));
    let instance = site.start();
    site.await_settled(SOON);
    instance.stop();
    let [commit] = Broker::get().commits(&site.group, &site.changes).try_into().expect("there is one partition");
    (site, receiver, commit.expect("the group has committed"))
}

/// Recreates the topic with these orders, and repeats the group's old commit. Kafka deletes the commits of a deleted
/// topic, but not a commit that arrives later.
fn recreate_topic(site: &Site, orders: std::ops::Range<usize>, (offset, metadata): &(i64, String)) {
    let broker = Broker::get();
    broker.delete_topic(&site.changes);
    broker.create_topic(&site.changes, 1, &[]);
    site.produce(orders.map(order_without_id));
    broker.commit(&site.group, &site.changes, 0, *offset, metadata);
    assert_eq!(broker.commits(&site.group, &site.changes), [Some((*offset, metadata.clone()))]);
}

/// The message ids that came for each order.
fn ids(receiver: &Receiver) -> BTreeMap<usize, BTreeSet<String>> {
    let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
    for request in receiver.requests("/orders") {
        ids.entry(number(&request)).or_default().insert(request.message_id);
    }
    ids
}

/// Checks that all records of a recreated topic of this length are sent, with new message ids.
#[track_caller]
fn assert_all_sent_with_other_ids(count: usize) {
    for protocol in ["classic", "consumer"] {
        let (site, receiver, commit) = settled(protocol);
        recreate_topic(&site, OLD..OLD + count, &commit);
        let instance = site.start();
        site.await_settled(SOON);
        let ids = ids(&receiver);
        let missing: Vec<_> = (0..OLD + count).filter(|number| !ids.contains_key(number)).collect();
        assert!(missing.is_empty(), "{protocol}: {missing:?} are skipped");
        assert!(ids.values().all(|of| of.len() == 1), "{protocol}: {ids:?}");
        let all: BTreeSet<_> = ids.values().flatten().collect();
        assert_eq!(all.len(), OLD + count, "{protocol}: ids of the old topic are used again");
        assert_eq!(instance.metric("outhook_partitions_made_anew_total"), 1.0, "{protocol}");
    }
}

#[test]
fn a_shorter_recreated_topic_sends_all_with_other_ids() {
    assert_all_sent_with_other_ids(OLD / 2);
}

#[test]
fn a_recreated_topic_that_is_as_long_sends_all_with_other_ids() {
    assert_all_sent_with_other_ids(OLD);
}

#[test]
fn a_longer_recreated_topic_sends_all_with_other_ids() {
    assert_all_sent_with_other_ids(2 * OLD);
}

#[test]
fn topic_with_deleted_records_is_not_taken_for_recreated() {
    let broker = Broker::get();
    let (site, receiver, _) = settled("classic");
    broker.delete_before(&site.changes, OLD as i64);
    for round in 1..3 {
        let instance = site.start();
        site.produce((round * OLD..(round + 1) * OLD).map(order_without_id));
        site.await_settled(SOON);
        assert_eq!(receiver.requests("/orders").len(), (round + 1) * OLD, "none is sent twice");
        assert_eq!(instance.metric("outhook_partitions_made_anew_total"), 0.0);
        instance.stop();
    }
}
