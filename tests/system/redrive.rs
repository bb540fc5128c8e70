//! Dead letters are sent again once their receiver works: as the same messages, and once.

use std::collections::BTreeSet;

use harness::{Answer, Api, Broker, Ended, Instance, Receiver, Request, SECRET, Signature, Site, order, webhooks};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

const ORDERS: usize = 3;

struct Failed {
    site: Site,
    receiver: Receiver,
    instance: Instance,
}

/// Dead-lettered calls to two endpoints, which work by now, and an undecodable record.
fn dead_letters_with_fixed_receivers() -> Failed {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["0s"]);
    receiver.verify("/crm", SECRET);
    receiver.answer_first("/crm", vec![Answer::Status(500); 2 * ORDERS]);
    receiver.answer_first("/erp", vec![Answer::Status(404); 2 * ORDERS]);
    let to = |path: &str| vec![receiver.url(path)];
    let inserts = ["EventType: table.recordInsert, ObjectName: orders"];
    site.apply(&webhooks(&[("crm", &to("/crm"), &inserts), ("erp", &to("/erp"), &inserts)]));
    let instance = site.start();
    site.produce((0..ORDERS).map(order));
    site.produce([("key", "{\"table\":")]);
    harness::eventually("all calls are dead-lettered", SOON, || {
        (letters(&site, &[]).len() == 2 * ORDERS + 1).then_some(())
    });
    Failed { site, receiver, instance }
}

fn letters(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let ended = site.run(&[&["dead-letters", "list", "--json"], arguments].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn redrive(site: &Site, arguments: &[&str]) -> Ended {
    let ended = site.run(&[&["dead-letters", "redrive"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended
}

/// Waits until all calls in the retry topics were sent and answered.
fn await_resumed(site: &Site) {
    let group = format!("{}-retries", site.group);
    for tier in ["200ms", "1s"] {
        Broker::get().await_committed(&group, &format!("{}.{tier}", site.retries), SOON);
    }
}

fn ids_of(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["Id"].as_str().unwrap()).collect()
}

#[test]
fn redriven_calls_are_delivered_once_as_the_same_messages() {
    let Failed { site, receiver, instance: _instance } = dead_letters_with_fixed_receivers();
    let endpoint = receiver.url("/crm");
    let of_crm = ["--endpoint", endpoint.as_str()];
    let refused = receiver.requests("/crm");

    let dry = redrive(&site, &[&of_crm[..], &["--dry-run"]].concat());
    assert_eq!(dry.stdout, "3 would be redriven, 0 skipped\n");
    assert!(letters(&site, &[]).iter().all(|letter| letter["Redriven"].is_null()));

    assert_eq!(redrive(&site, &of_crm).stdout, "3 redriven, 0 skipped\n");
    let all = receiver.wait("/crm", refused.len() + ORDERS, SOON);
    await_resumed(&site);
    let again = &all[refused.len()..];
    assert!(again.iter().all(|request| request.signature == Signature::Good));
    let messages = |requests: &[Request]| {
        let messages = requests.iter().map(|request| (request.message_id.clone(), request.body.to_vec()));
        messages.collect::<BTreeSet<_>>()
    };
    assert_eq!((again.len(), messages(again)), (ORDERS, messages(&refused)), "each once, unchanged");
    for letter in letters(&site, &["--kind", "call"]) {
        let is_crm = letter["Url"] == endpoint.as_str();
        assert_eq!(letter["Redriven"].is_string(), is_crm, "{letter}");
    }
    assert!(site.run(&["dead-letters", "list"]).stdout.contains("redriven 20"));

    let second = redrive(&site, &[&of_crm[..], &["--json"]].concat());
    assert_eq!(second.stderr, "0 redriven, 3 skipped: 3 redriven before\n");
    let told: Vec<Value> = second.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.len() == 3 && told.iter().all(|told| told["Redriven"] == false), "{told:?}");
    await_resumed(&site);
    assert_eq!((receiver.requests("/crm").len(), receiver.requests("/erp").len()), (3 * ORDERS, 2 * ORDERS));

    let of_crm = letters(&site, &of_crm);
    let by_id = redrive(&site, &[&ids_of(&of_crm[..2])[..], &["--again", "--by", "Ann"]].concat());
    assert_eq!(by_id.stdout, "2 redriven, 0 skipped\n");
    receiver.wait("/crm", 3 * ORDERS + 2, SOON);
    await_resumed(&site);
    assert_eq!(receiver.requests("/crm").len(), 3 * ORDERS + 2);
    let markers = Broker::get().read_all(&site.dead_letters);
    assert_eq!(markers.iter().filter(|marker| marker.header("outhook-by") == Some("Ann")).count(), 2);
}

#[test]
fn redrive_requires_a_selection_and_skips_letters_without_a_call() {
    let Failed { site, receiver, instance: _instance } = dead_letters_with_fixed_receivers();
    for (arguments, part) in [
        (&[][..], "required arguments were not provided"),
        (&["2:x"], "is not a dead letter's id"),
        (&["0:0", "--all"], "cannot be used with"),
        (&["0:0", "--class", "timeout"], "cannot be used with"),
    ] {
        let refused = site.run(&[&["dead-letters", "redrive"], arguments].concat());
        assert!(refused.code == Some(2) && refused.stderr.contains(part), "{arguments:?}: {}", refused.stderr);
    }
    let missing = site.run(&["dead-letters", "redrive", "0:99999"]);
    assert_eq!((missing.code, missing.stdout.lines().last()), (Some(1), Some("0 redriven, 1 skipped: 1 not found")));
    let all = redrive(&site, &["--all"]);
    assert_eq!(all.stdout.lines().last(), Some("6 redriven, 1 skipped: 1 not a call"));
    assert!(all.stdout.contains("  skipped: it is not a call, but a record"), "{}", all.stdout);
    receiver.wait("/crm", 3 * ORDERS, SOON);
    receiver.wait("/erp", 3 * ORDERS, SOON);
}

#[test]
fn account_redrives_only_its_own_letters_over_rest() {
    let Failed { site, receiver, instance } = dead_letters_with_fixed_receivers();
    let acme = instance.api(&site.client(&["--account", "acme"]));
    let zoo = instance.api(&site.client(&["--account", "zoo"]));
    let found = letters(&site, &["--endpoint", &receiver.url("/crm")]);
    let (ids, webhook) = (ids_of(&found), found[0]["WebhookId"].as_str().unwrap());
    let erp = letters(&site, &["--endpoint", &receiver.url("/erp")]);
    let path = |rest: &str| format!("/v3/outgoingWebhooks/{webhook}/deadLetters{rest}");
    let post = |api: &Api, rest: &str, body: Value| api.post(&path(rest), &body);

    for (api, rest) in [
        (&zoo, "/redrive".to_owned()),
        (&zoo, format!("/{}/redrive", ids[0])),
        (&acme, format!("/{}/redrive", ids_of(&erp)[0])),
        (&acme, "/0:99999/redrive".to_owned()),
    ] {
        let refused = post(api, &rest, json!({}));
        assert_eq!((refused.status, refused.text("Code").as_str()), (404, "ObjectNotFound"), "{rest}: {refused:?}");
    }
    for (body, part) in [
        (json!({"Ids": ["x"]}), "is not a dead letter's id"),
        (json!({}), "selects no letters"),
        (json!({"All": false, "Again": true}), "selects no letters"),
        (json!({"All": true, "Class": "timeout"}), "All excludes conditions"),
        (json!({"Ids": ["0:1"], "All": true}), "Ids exclude conditions"),
        (json!({"Ids": ["0:1"], "Class": "timeout"}), "Ids exclude conditions"),
        (json!({"Ids": vec!["0:1"; 33]}), "at most 32"),
        (json!({"Since": "yesterday"}), "Since is"),
        (json!({"All": true, "Cursor": "garbage"}), "Cursor"),
    ] {
        let refused = post(&acme, "/redrive", body);
        assert_eq!((refused.status, refused.text("Code").as_str()), (400, "IncorrectBodyParameter"), "{refused:?}");
        assert!(refused.text("Message").contains(part), "{refused:?}");
    }
    assert_eq!(receiver.requests("/crm").len(), 2 * ORDERS, "nothing was sent");

    let one = format!("/{}/redrive", ids[0]);
    assert_eq!(post(&acme, &one, json!({})).body, json!({"Redriven": 1, "Skipped": [], "NextCursor": null}));
    let second = post(&acme, &one, json!({}));
    assert_eq!((&second.body["Redriven"], &second.body["Skipped"][0]["Id"]), (&0.into(), &ids[0].into()));
    assert!(second.text.contains("redriven before"), "{second:?}");
    assert_eq!(post(&acme, &one, json!({"Again": true})).body["Redriven"], 1);
    assert!(acme.get(&path(&format!("/{}", ids[0]))).body["Redriven"].is_string());

    let named = post(&acme, "/redrive", json!({"Ids": [ids[1], "0:99999", ids_of(&erp)[0]]}));
    assert_eq!((&named.body["Redriven"], named.body["Skipped"].as_array().unwrap().len()), (&1.into(), 2), "{named:?}");
    let rest = post(&acme, "/redrive", json!({"Class": "status_5xx"}));
    assert_eq!((&rest.body["Redriven"], rest.body["Skipped"].as_array().unwrap().len()), (&1.into(), 2), "{rest:?}");
    let all = post(&acme, "/redrive", json!({"All": true}));
    assert_eq!((&all.body["Redriven"], all.body["Skipped"].as_array().unwrap().len()), (&0.into(), 3), "{all:?}");
    assert_eq!(instance.metrics()["outhook_redriven_total{how=\"redrive\"}"], 4.0);
    let listed = acme.get(&path(""));
    assert!(listed.body["Result"].as_array().unwrap().iter().all(|letter| letter["Redriven"].is_string()));

    receiver.wait("/crm", 3 * ORDERS + 1, SOON);
    await_resumed(&site);
    assert_eq!((receiver.requests("/crm").len(), receiver.requests("/erp").len()), (3 * ORDERS + 1, 2 * ORDERS));
}
