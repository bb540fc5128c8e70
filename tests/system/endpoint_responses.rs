//! Effects of an endpoint's responses beyond its own calls: a 410 disables the webhook, and operators are notified.

use std::time::Duration;

use harness::pace::Pace;
use harness::{Answer, Receiver, Site, eventually, order, webhooks};
use serde_json::{Value, json};

use crate::{EFFECTIVE, OUTHOOK, SOON};

const INSERTS: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];

#[test]
fn status_410_disables_the_webhook_on_all_instances_until_enabled_again() {
    let (site, receiver) = (Site::new(OUTHOOK, 4), Receiver::start());
    receiver.answer_first("/gone", [Answer::Status(410)]);
    let (gone, sound) = ([receiver.url("/gone")], [receiver.url("/sound")]);
    site.apply(&webhooks(&[("gone", &gone, INSERTS), ("sound", &sound, INSERTS)]));
    let credentials = site.client(&["--account", "acme"]);
    let (first, second) = (site.start(), site.start());
    site.produce([order(1)]);
    receiver.wait("/gone", 1, SOON);

    let webhook = |instance: &harness::Instance| -> Value {
        let list = instance.api(&credentials).get("/v3/outgoingWebhooks");
        let list: Value = serde_json::from_str(&list.text).expect("a list");
        let found = list.as_array().expect("a list").iter().find(|webhook| webhook["Name"] == "gone");
        found.expect("the webhook").clone()
    };
    for instance in [&first, &second] {
        let stopped = eventually("the webhook is Inactive", SOON, || {
            let webhook = webhook(instance);
            (webhook["Status"] == "Inactive").then_some(webhook)
        });
        let because = stopped["StoppedBecause"].as_str().expect("the cause is shown");
        assert!(because.ends_with("answered 410 Gone"), "{because}");
        assert_eq!(stopped["ModifiedBy"], "Outhook");
    }
    // The instances have read the change. Their matching follows soon.
    std::thread::sleep(EFFECTIVE);
    site.produce((2..20).map(order));
    receiver.wait("/sound", 19, SOON);
    site.await_settled(SOON);
    assert_eq!(receiver.requests("/gone").len(), 1);

    let id = webhook(&first)["Id"].as_str().expect("an id").to_owned();
    let enabled = first.api(&credentials).put(&format!("/v3/outgoingWebhooks/{id}"), &json!({ "Enabled": true }));
    assert_eq!(enabled.status, 200, "{}", enabled.text);
    assert!(!enabled.text.contains("StoppedBecause"), "{}", enabled.text);
    eventually("the other instance has read it", SOON, || (webhook(&second)["Status"] == "Active").then_some(()));
    std::thread::sleep(EFFECTIVE);
    site.produce((20..25).map(order));
    receiver.wait("/gone", 6, SOON);
}

#[test]
fn operators_get_endpoint_events_by_webhook() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["0s"]);
    receiver.answer_first("/orders", [Answer::Status(500), Answer::Status(500)]);
    let told: &[&str] = &["EventType: table.recordInsert, ObjectName: outhook.endpoints"];
    let (orders, operators) = ([receiver.url("/orders")], [receiver.url("/operators")]);
    site.apply(&webhooks(&[("orders", &orders, INSERTS), ("operators", &operators, told)]));
    let instance = site.start();
    site.produce([order(1)]);
    receiver.wait("/operators", 2, SOON);
    site.produce([order(2)]);

    let told = receiver.wait("/operators", 3, SOON);
    let rows: Vec<Value> = told
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).expect("a message is JSON")["data"][0].clone())
        .collect();
    let kind = |kind: &str| rows.iter().find(|row| row["Kind"] == kind).unwrap_or_else(|| panic!("{kind}: {rows:#?}"));
    assert_eq!(kind("failing")["Class"], "status_5xx");
    let cause = kind("exhausted")["Cause"].as_str().expect("a cause");
    assert!(cause.ends_with("answered 500 Internal Server Error"), "{cause}");
    assert_eq!(kind("recovered")["Failures"], 2);
    let origin = receiver.url("");
    assert!(rows.iter().all(|row| row["Endpoint"] == origin.as_str()), "{rows:#?}");
    assert_eq!(instance.metric("outhook_operator_events_total"), 3.0);
}

#[test]
fn call_throttling_holds_over_all_instances_and_drops_nothing() {
    const CALLS: usize = 150;
    const A_SECOND: usize = 20;
    let (site, receiver) = (Site::new(OUTHOOK, 4), Receiver::start());
    let throttled = webhooks(&[("orders", &[receiver.url("/orders")], INSERTS)]);
    let throttled = throttled.replace("    Secret:", &format!("    CallThrottling: {A_SECOND}\n    Secret:"));
    site.apply(&throttled);
    let (first, second) = (site.start(), site.start());
    let owned = |instance: &harness::Instance| {
        instance.metrics().get(r#"outhook_assigned_partitions{of="overflow"}"#).is_some_and(|owned| *owned == 1.0)
    };
    eventually("both have a share", SOON, || (owned(&first) && owned(&second)).then_some(()));
    site.produce((0..CALLS).map(order));

    let requests = receiver.wait("/orders", CALLS, Duration::from_secs(60));
    let ids: std::collections::HashSet<_> = requests.iter().map(|request| &request.message_id).collect();
    assert_eq!(ids.len(), CALLS);
    let mut pace = Pace::new(A_SECOND);
    requests.iter().for_each(|request| pace.arrived(request));
    let seen = pace.seen("/orders");
    println!("{seen}");
    assert!(!seen.is_too_fast(), "{seen}");
    drop((first, second));
    assert_eq!(receiver.requests("/orders").len(), CALLS);
}
