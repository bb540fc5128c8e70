//! Webhooks in row order: the messages of a row arrive for the first time in the order of its changes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::pace::Pace;
use harness::{Answer, Broker, Instance, Receiver, Request, Site, eventually, large_order, order, webhooks};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

const ROWS: usize = 20;
const INSERTS: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];

/// A row change. There are few rows: the key is the row's, the number increases.
fn change(number: usize) -> (String, String) {
    ((number % ROWS).to_string(), order(number).1)
}

/// The webhooks of [`webhooks`], each in row order.
fn in_row_order(yaml: &str) -> String {
    yaml.replace("    Events:\n", "    Order: RowKey\n    Events:\n")
}

fn number_of(request: &Request) -> usize {
    let body: Value = serde_json::from_slice(&request.body).expect("a message is JSON");
    body["data"][0]["id"].as_u64().expect("an order has a number") as usize
}

/// First arrivals by row, and the changes that were accepted.
#[derive(Default)]
struct Came {
    first: HashMap<usize, Vec<usize>>,
    taken: HashSet<usize>,
}

impl Came {
    fn note(&mut self, request: &Request) {
        let number = number_of(request);
        let row = self.first.entry(number % ROWS).or_default();
        if !row.contains(&number) {
            row.push(number);
        }
        if request.answer.is_success() {
            self.taken.insert(number);
        }
    }

    fn assert_in_order(&self) {
        for (row, numbers) in &self.first {
            assert!(numbers.is_sorted(), "row {row}: {numbers:?}");
        }
    }
}

#[test]
fn rows_arrive_in_order_despite_endpoint_failures_and_a_kill() {
    const CHANGES: usize = 600;
    let mut site = Site::new(OUTHOOK, 4);
    site.set("kafka.session_timeout", "6s");
    site.set("delivery.retry", vec!["20ms"; 50]);
    let came = Arc::<Mutex<Came>>::default();
    let noting = came.clone();
    let receiver = Receiver::observed(move |request| noting.lock().expect("no holder panics").note(request));
    receiver.answer_first("/orders", (0..CHANGES * 2).map(|n| Answer::Status(if n % 3 == 2 { 500 } else { 204 })));
    site.apply(&in_row_order(&webhooks(&[("orders", &[receiver.url("/orders")], INSERTS)])));
    let taken = || came.lock().expect("no holder panics").taken.len();
    let one = site.start();
    let _two = site.start();
    site.produce((0..CHANGES / 2).map(change));
    eventually("a third is delivered", SOON, || (taken() > CHANGES / 3).then_some(()));
    site.produce((CHANGES / 2..CHANGES).map(change));
    one.kill();
    eventually("all are delivered", Duration::from_secs(90), || (taken() == CHANGES).then_some(()));
    came.lock().expect("no holder panics").assert_in_order();
    assert_eq!(Broker::get().read_all(&site.dead_letters).len(), 0);
    assert_eq!(came.lock().expect("no holder panics").first.len(), ROWS);
}

#[test]
fn dead_row_order_endpoint_delays_no_other_and_excess_is_dead_lettered() {
    const CHANGES: usize = 400;
    let (mut site, receiver) = (Site::new(OUTHOOK, 2), Receiver::start());
    site.set("delivery.queue_calls", 64);
    site.set("delivery.order_patience", "3s");
    site.set("delivery.retry", vec!["100ms"; 50]);
    receiver.answer("/dead", Answer::Status(503));
    let to = |path: &str| vec![receiver.url(path)];
    let ordered = in_row_order(&webhooks(&[("dead", &to("/dead"), INSERTS), ("alive", &to("/alive"), INSERTS)]));
    let plain = webhooks(&[("plain", &to("/plain"), INSERTS)]);
    site.apply(&format!("{ordered}{}", plain.strip_prefix("Webhooks:\n").expect("a file begins with its key")));
    let instance = site.start();
    site.produce((0..CHANGES).map(change));

    receiver.wait("/plain", CHANGES, SOON);
    let alive = receiver.wait("/alive", CHANGES, SOON);
    let mut came = Came::default();
    alive.iter().for_each(|request| came.note(request));
    came.assert_in_order();
    let letters = || Broker::get().read_all(&site.dead_letters);
    eventually("calls without a place and calls at the head are dead-lettered", SOON, || {
        let of = |class| letters().iter().filter(|letter| letter.header("outhook-class") == Some(class)).count();
        (of("row_order") > 100 && of("status_5xx") > 0).then_some(())
    });
    let letter = letters().into_iter().find(|letter| letter.header("outhook-class") == Some("row_order")).unwrap();
    let cause = letter.header("outhook-cause").unwrap();
    assert!(cause.contains("calls wait before it in row order") && cause.contains("answered 503"), "{cause}");
    assert!(letter.header("outhook-row").is_some_and(|row| row.len() == 16), "{letter:?}");
    assert_eq!(instance.metric("outhook_calls_deferred_total"), 0.0);

    receiver.answer("/dead", Answer::Status(204));
    let dead = || letters().iter().filter(|letter| letter.header("outhook-kind") == Some("call")).count();
    eventually("every call is delivered or a dead letter", SOON, || {
        let requests = receiver.requests("/dead");
        let taken: HashSet<_> = requests.iter().filter(|request| request.answer.is_success()).map(number_of).collect();
        (taken.len() + dead() == CHANGES).then_some(())
    });
    let mut came = Came::default();
    receiver.requests("/dead").iter().for_each(|request| came.note(request));
    came.assert_in_order();
    let (before, count) = (receiver.requests("/dead").len(), dead());
    let redriven = site.run(&["dead-letters", "redrive", "--all"]);
    assert_eq!(redriven.code, Some(0), "{}{}", redriven.stdout, redriven.stderr);
    // Calls without a place were dead-lettered before calls that had a place and waited.
    let mut again = Came::default();
    receiver.wait("/dead", before + count, SOON)[before..].iter().for_each(|request| again.note(request));
    again.assert_in_order();
    assert_eq!(again.taken.len(), count);
}

#[test]
fn large_redrives_arrive_in_row_order() {
    // More than is read in one batch.
    const CHANGES: usize = 1_500;
    let (mut site, receiver) = (Site::new(OUTHOOK, 2), Receiver::start());
    site.set("delivery.retry", vec!["0s"]);
    receiver.answer("/orders", Answer::Status(500));
    site.apply(&in_row_order(&webhooks(&[("orders", &[receiver.url("/orders")], INSERTS)])));
    let _instance = site.start();
    site.produce((0..CHANGES).map(change));
    let letters = || Broker::get().read_all(&site.dead_letters);
    let letters = eventually("all calls are dead-lettered", Duration::from_secs(90), || {
        Some(letters()).filter(|letters| letters.len() == CHANGES)
    });
    receiver.answer("/orders", Answer::Status(204));
    let before = receiver.requests("/orders").len();

    let webhook = letters[0].header("outhook-webhook").expect("a call names its webhook");
    let redriven = site.run(&["dead-letters", "redrive", "--webhook", webhook]);
    assert_eq!((redriven.code, redriven.stdout), (Some(0), format!("{CHANGES} redriven, 0 skipped\n")));
    let mut came = Came::default();
    receiver.wait("/orders", before + CHANGES, SOON)[before..].iter().for_each(|request| came.note(request));
    came.assert_in_order();
    assert_eq!(came.taken.len(), CHANGES);
}

#[test]
fn oversized_row_order_call_is_dead_lettered_and_others_stay_in_order() {
    const CHANGES: usize = 400;
    const MOST: usize = 20_000;
    let broker = Broker::get();
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&in_row_order(&webhooks(&[("orders", &[receiver.url("/orders")], INSERTS)])));
    let _instance = site.start();
    let of_row = |number: usize, bytes| ((number % ROWS).to_string(), large_order(number, bytes).1);
    let letters = || broker.read_all(&site.dead_letters);

    broker.configure_topic(&site.row_order, &[("max.message.bytes", &MOST.to_string())]);
    let mut number = 0;
    let letter = eventually("the topic rejects a record that is too large", SOON, || {
        site.produce([of_row(number, MOST)]);
        site.await_settled(SOON);
        number += 1;
        letters().pop()
    });
    let cause = letter.header("outhook-cause").unwrap();
    assert_eq!((letter.header("outhook-kind"), letter.header("outhook-class")), (Some("call"), Some("too_large")));
    assert!(cause.contains(&site.row_order) && cause.contains("raise the topic's max.message.bytes"), "{cause}");

    // A batch of many is too large, too, although each record is not.
    let before = number - 1;
    let is_large = |number: &usize| number.is_multiple_of(50);
    let numbers = number..number + CHANGES;
    let large = numbers.clone().filter(is_large).count();
    site.produce(numbers.map(|number| of_row(number, if is_large(&number) { MOST } else { 500 })));
    let mut came = Came::default();
    receiver.wait("/orders", before + CHANGES - large, SOON).iter().for_each(|request| came.note(request));
    came.assert_in_order();
    eventually("the other calls are dead letters", SOON, || (letters().len() == 1 + large).then_some(()));
    assert!(letters().iter().all(|letter| letter.header("outhook-class") == Some("too_large")));

    broker.configure_topic(&site.row_order, &[]);
    let redriven = site.run(&["dead-letters", "redrive", "--class", "too_large"]);
    assert_eq!(redriven.code, Some(0), "{}{}", redriven.stdout, redriven.stderr);
    let all: HashSet<_> = receiver.wait("/orders", before + CHANGES + 1, SOON).iter().map(number_of).collect();
    assert_eq!(all.len(), number + CHANGES);
}

#[test]
fn throttling_holds_with_row_order_over_two_instances() {
    const CHANGES: usize = 40;
    let (site, receiver) = (Site::new(OUTHOOK, 4), Receiver::start());
    let yaml = in_row_order(&webhooks(&[("orders", &[receiver.url("/orders")], INSERTS)]));
    site.apply(&yaml.replace("    Order:", "    CallThrottling: 10\n    Order:"));
    let instances = [site.start(), site.start()];
    eventually("both have a share", SOON, || {
        let owned = |instance: &Instance| instance.metrics()[r#"outhook_assigned_partitions{of="retries"}"#] == 3.0;
        instances.iter().all(owned).then_some(())
    });
    site.produce((0..CHANGES).map(change));
    let requests = receiver.wait("/orders", CHANGES, SOON);
    let mut pace = Pace::new(10);
    requests.iter().for_each(|request| pace.arrived(request));
    let seen = pace.seen("/orders");
    assert!(!seen.is_too_fast(), "{seen}");
    let mut came = Came::default();
    requests.iter().for_each(|request| came.note(request));
    came.assert_in_order();
    assert_eq!(came.taken.len(), CHANGES);
}

#[test]
fn order_setting_is_stored_shown_and_reset() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let made = api
        .post("/v3/outgoingWebhooks", &json!({"Name": "A", "OutgoingUrls": ["https://a.example/"], "Order": "rowKEY"}));
    assert_eq!((made.status, &made.body["Order"]), (201, &"RowKey".into()), "{made:?}");
    let one = format!("/v3/outgoingWebhooks/{}", made.text("Id"));
    assert_eq!(api.get(&one).body["Order"], "RowKey");
    let refused = api.put(&one, &json!({"Order": "random"}));
    assert_eq!((refused.status, refused.text("Code").as_str()), (400, "IncorrectBodyParameter"), "{refused:?}");
    assert!(refused.text("Message").contains("use RowKey or None"), "{refused:?}");
    let shown = site.run(&["get"]).stdout;
    assert!(shown.contains("Order: RowKey"), "{shown}");
    let before = Broker::get().read_all(&site.definitions).len();
    site.apply(&shown);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), before, "apply accepts the output of get");
    for reset in [json!({"Order": null}), json!({"Order": "None"})] {
        assert_eq!(api.put(&one, &json!({"Order": "RowKey"})).body["Order"], "RowKey");
        let reset = api.put(&one, &reset);
        assert_eq!((reset.status, reset.body.get("Order")), (200, None), "{reset:?}");
    }
    let becomes = |order: Value| {
        eventually("the file's order is known", SOON, || (api.get(&one).body["Order"] == order).then_some(()));
    };
    site.apply(&shown.replace("Order: RowKey", "Order: rowkey"));
    becomes("RowKey".into());
    // A key that a file omits is reset.
    site.apply(&shown.replace("Order: RowKey", "Description: x"));
    becomes(Value::Null);
}

/// The procedure of docs/row-order.md, "Order at the receiver", line for line.
#[derive(Default)]
struct ByTheDocs {
    seen: HashSet<String>,
    positions: HashMap<usize, (jiff::Timestamp, String)>,
    rows: HashMap<usize, usize>,
}

impl ByTheDocs {
    fn take(&mut self, message: &Request) {
        let header = |name: &str| message.headers[name].to_str().expect("headers are text").to_owned();
        let (number, row) = (number_of(message), number_of(message) % ROWS);
        if !self.seen.insert(header("webhook-id")) {
            return;
        }
        let at = header("outhook-event-date").parse().expect("a date is RFC 3339");
        let position = (at, header("outhook-sequence"));
        if self.positions.get(&row).is_none_or(|newest| position > *newest) {
            self.positions.insert(row, position);
            self.rows.insert(row, number);
        }
    }
}

#[test]
fn documented_receiver_logic_has_the_newest_row_state_without_order() {
    const CHANGES: usize = 200;
    let (mut site, receiver) = (Site::new(OUTHOOK, 2), Receiver::start());
    site.set("delivery.retry", vec!["300ms"; 20]);
    site.set("delivery.breaker_failures", 0);
    // Calls that fail first are retried after later changes of their rows.
    receiver.answer_first("/orders", vec![Answer::Status(500); ROWS * 3]);
    site.apply(&webhooks(&[("orders", &[receiver.url("/orders")], INSERTS)]));
    let _instance = site.start();
    site.produce((0..CHANGES).map(change));
    let taken = || receiver.requests("/orders").into_iter().filter(|request| request.answer.is_success());
    eventually("all are accepted", SOON, || {
        let numbers: HashSet<_> = taken().map(|request| number_of(&request)).collect();
        (numbers.len() == CHANGES).then_some(())
    });
    let (mut by_the_docs, mut as_it_comes) = (ByTheDocs::default(), Came::default());
    for request in taken() {
        by_the_docs.take(&request);
        as_it_comes.note(&request);
    }
    assert!(as_it_comes.first.values().any(|numbers| !numbers.is_sorted()), "no message was out of order");
    for (row, number) in by_the_docs.rows {
        assert_eq!(number, CHANGES - ROWS + row, "the newest of row {row}");
    }
}
