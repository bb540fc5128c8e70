//! A row change becomes a webhook request, and the handling of endpoint failures.

use std::time::Duration;

use harness::{Answer, Receiver, Request, SECRET, Signature, Site, Stored, inserted_orders, order, webhooks};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

/// A site that retries twice, without delay.
fn impatient_site() -> Site {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("delivery.retry", vec!["0s", "0s"]);
    site
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("a message's body is JSON")
}

/// The dead letters of a site, once it has `count`.
fn dead_letters(site: &Site, count: usize) -> Vec<Stored> {
    harness::eventually("the dead letters are written", SOON, || {
        let letters = harness::Broker::get().read_all(&site.dead_letters);
        (letters.len() >= count).then_some(letters)
    })
}

#[test]
fn a_row_change_becomes_a_signed_message() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    receiver.verify("/orders", SECRET);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let _instance = site.start();
    site.produce([order(7)]);

    let [request] = receiver.wait("/orders", 1, SOON).try_into().expect("one change is one message");
    assert_eq!(request.signature, Signature::Good);
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(request.headers.contains_key("webhook-timestamp") && request.headers.contains_key("user-agent"));
    assert!(!request.headers.keys().any(|name| name.as_str().starts_with("svix-")));

    let text = String::from_utf8(request.body.to_vec()).expect("JSON is UTF-8");
    let keys =
        ["eventId", "messageId", "webhookId", "accountId", "secret", "eventDate", "eventType", "objectName", "data"];
    let places: Vec<_> = keys.iter().map(|key| text.find(&format!("\"{key}\":")).expect(key)).collect();
    assert!(places.is_sorted(), "the keys are in the documented order: {text}");
    assert!(
        text.contains(
            r#""data":[{"id":7,"item":"Café au lait \"grande\"","total":12.50,"shipped":false,"note":null}]"#
        ),
        "{text}"
    );

    let message = body(&request);
    assert_eq!(message["messageId"], request.message_id.as_str());
    assert_eq!(message["accountId"], "acme");
    assert_eq!(message["secret"], SECRET);
    assert_eq!(message["eventType"], "table.recordInsert");
    assert_eq!(message["objectName"], "orders");
    site.await_settled(SOON);
}

#[test]
fn an_update_fires_only_when_a_chosen_field_really_changes() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let event =
        "EventType: table.recordUpdate, ObjectName: orders, ObjectFields: [total], CustomPayloadFields: [id, total]";
    site.apply(&webhooks(&[("totals", &[receiver.url("/totals")], &[event])]));
    let _instance = site.start();
    let update = |id: u64, before: &str, after: &str| {
        let change = json!({ "table": "orders", "operation": "update",
            "before": { "id": id, "total": before.parse::<f64>().ok(), "shipped": false },
            "after": { "id": id, "total": after.parse::<f64>().ok(), "shipped": true } });
        (id.to_string(), change.to_string())
    };
    site.produce([
        update(1, "12.5", "12.50"),
        update(2, "12.5", "13"),
        update(3, "null", "null"),
        update(4, "null", "1"),
    ]);

    site.await_settled(SOON);
    let mut sent: Vec<_> = receiver.requests("/totals").iter().map(|request| body(request)["data"].clone()).collect();
    // Messages have no guaranteed order.
    sent.sort_by_key(|data| data[0]["id"].as_u64());
    assert_eq!(sent, [json!([{ "id": 2, "total": 13.0 }]), json!([{ "id": 4, "total": 1.0 }])]);
}

#[test]
fn the_urls_of_a_webhook_are_independent_calls() {
    let (site, receiver) = (impatient_site(), Receiver::start());
    receiver.answer("/broken", Answer::Status(500));
    site.apply(&inserted_orders("both", &[receiver.url("/broken"), receiver.url("/sound")]));
    let _instance = site.start();
    site.produce((0..5).map(order));

    let sound = receiver.wait("/sound", 5, SOON);
    site.await_settled(SOON);
    let broken = receiver.requests("/broken");
    assert_eq!(broken.len(), 5 * 3, "one attempt and two retries each");
    assert_eq!(receiver.requests("/sound").len(), 5, "a message that one URL rejects is not sent again to the other");
    for request in &sound {
        let same = broken.iter().filter(|other| other.message_id == request.message_id).count();
        assert_eq!(same, 3, "one message goes to both");
    }
    assert_eq!(dead_letters(&site, 5).len(), 5, "only the broken URL's calls");
}

#[test]
fn failed_call_is_retried_until_it_is_delivered() {
    let (site, receiver) = (impatient_site(), Receiver::start());
    receiver.verify("/orders", SECRET);
    receiver.answer_first("/orders", [Answer::Status(503), Answer::Close]);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let _instance = site.start();
    site.produce([order(1)]);

    let attempts = receiver.wait("/orders", 3, SOON);
    assert!(attempts.iter().all(|attempt| attempt.signature == Signature::Good));
    assert!(attempts.windows(2).all(|pair| pair[0].message_id == pair[1].message_id && pair[0].body == pair[1].body));
    site.await_settled(SOON);
    assert_eq!(receiver.requests("/orders").len(), 3);
    assert_eq!(harness::Broker::get().read_all(&site.dead_letters).len(), 0);
}

#[test]
fn retry_after_delays_the_next_attempt() {
    let (site, receiver) = (impatient_site(), Receiver::start());
    receiver.answer_first("/orders", [Answer::With(429, "retry-after", "1".to_owned())]);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let _instance = site.start();
    site.produce([order(1)]);

    let attempts = receiver.wait("/orders", 2, SOON);
    let waited = attempts[1].at - attempts[0].at;
    assert!(waited >= Duration::from_millis(990), "retried after {waited:?}, although the response asked for 1 s");
}

#[test]
fn exhausted_call_becomes_a_dead_letter() {
    let (site, receiver) = (impatient_site(), Receiver::start());
    receiver.answer("/orders", Answer::Status(500));
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    site.produce([order(1)]);

    let attempts = receiver.wait("/orders", 3, SOON);
    site.await_settled(SOON);
    let [letter] = dead_letters(&site, 1).try_into().expect("one call is one dead letter");
    assert_eq!(letter.value.as_deref(), Some(&*attempts[0].body), "the dead letter has the unchanged body");
    let headers = format!("{:?}", letter.headers);
    for expected in [attempts[0].message_id.as_str(), &receiver.url("/orders"), &site.changes, "500"] {
        assert!(headers.contains(expected), "{expected} is not in the dead letter's headers: {headers}");
    }
    assert!(!headers.contains(SECRET));
    assert!(instance.is_ready());
}

#[test]
fn undecodable_record_is_dead_lettered_and_the_next_is_processed() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    site.produce([order(1), ("key".to_owned(), "{\"table\":".to_owned()), order(2)]);

    receiver.wait("/orders", 2, SOON);
    site.await_settled(SOON);
    let [letter] = dead_letters(&site, 1).try_into().expect("one record is one dead letter");
    assert_eq!(letter.value.as_deref(), Some(&b"{\"table\":"[..]), "the dead letter has the unchanged record");
    let headers = format!("{:?}", letter.headers);
    for expected in [site.changes.as_str(), "line 1"] {
        assert!(headers.contains(expected), "{expected} is not in the dead letter's headers: {headers}");
    }
    assert_eq!(instance.metric("outhook_decode_failures_total"), 1.0);
}

#[test]
fn hanging_endpoint_does_not_slow_another() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    // The first attempt at the hanging endpoint takes longer than this test waits.
    site.set("delivery.timeout", "2m");
    site.set("delivery.first_byte_timeout", "2m");
    receiver.answer("/hangs", Answer::Hang);
    let events: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
    let (hangs, sound) = ([receiver.url("/hangs")], [receiver.url("/sound")]);
    site.apply(&webhooks(&[("hangs", &hangs, events), ("sound", &sound, events)]));
    let _instance = site.start();
    site.produce((0..500).map(order));

    receiver.wait("/sound", 500, SOON);
}
