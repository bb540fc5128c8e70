//! Past row changes are sent again: to a webhook that was created later, to one that lost them, and to no other
//! webhook.

use std::collections::BTreeSet;

use harness::{Broker, Ended, Receiver, Request, Site, Stored, inserted_orders, order, webhooks};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON, waiting};

const ORDERS: usize = 12;

/// The id of the webhook with this name, read from the definitions topic.
fn webhook_id(site: &Site, name: &str) -> String {
    let name = format!("\"name\":\"{name}\"");
    let is_named =
        |value: &Option<Vec<u8>>| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).contains(&name);
    let records = Broker::get().read_all(&site.definitions).into_iter();
    let keys =
        records.filter(|record| is_named(&record.value)).filter_map(|record| String::from_utf8(record.key?).ok());
    let id = keys.filter_map(|key| Some(key.strip_prefix("webhook/")?.to_owned())).next_back();
    id.expect("a webhook of this name is defined")
}

#[track_caller]
fn replay(site: &Site, arguments: &[&str], code: i32) -> Ended {
    let ended = site.run(&[&["replay", "--topic", &site.changes], arguments].concat());
    assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended
}

fn ids(requests: &[Request]) -> BTreeSet<String> {
    requests.iter().map(|request| request.message_id.clone()).collect()
}

/// The calls in the first retry topic, by the offsets of their row changes.
fn written(site: &Site) -> Vec<Stored> {
    Broker::get().read_all(&format!("{}.200ms", site.retries))
}

fn offsets(calls: &[Stored]) -> Vec<i64> {
    let mut offsets: Vec<i64> =
        calls.iter().map(|call| waiting::field(call, waiting::OFFSET).unwrap().parse().unwrap()).collect();
    offsets.sort_unstable();
    offsets
}

/// A site without an instance, with a webhook on orders and with Outhook's topics.
fn at_rest(partitions: i32, receiver: &Receiver) -> (Site, String) {
    let site = Site::new(OUTHOOK, partitions);
    site.apply(&inserted_orders("crm", &[receiver.url("/crm")]));
    let created = site.run(&["topics", "create"]);
    assert_eq!(created.code, Some(0), "{}{}", created.stdout, created.stderr);
    let webhook = webhook_id(&site, "crm");
    (site, webhook)
}

#[test]
fn replay_serves_a_new_webhook_and_repeats_messages_with_the_same_ids() {
    let (site, receiver) = (Site::new(OUTHOOK, 2), Receiver::start());
    let inserts = ["EventType: table.recordInsert, ObjectName: orders"];
    let to = |path: &str| vec![receiver.url(path)];
    site.apply(&webhooks(&[("old", &to("/old"), &inserts)]));
    let _instance = site.start();
    site.produce((0..ORDERS).map(order));
    let live = receiver.wait("/old", ORDERS, SOON);
    site.await_settled(SOON);
    let committed = Broker::get().commits(&site.group, &site.changes);
    site.apply(&webhooks(&[("old", &to("/old"), &inserts), ("late", &to("/late"), &inserts)]));
    let (old, late) = (webhook_id(&site, "old"), webhook_id(&site, "late"));

    let before = written(&site).len();
    let dry = replay(&site, &["--from", "0", "--webhook", &late, "--dry-run"], 0);
    assert_eq!(dry.stdout, "records read: 12, fired: 12, messages: 12, calls that would be sent: 12\n");
    assert_eq!(written(&site).len(), before, "nothing is written");

    let sent = replay(&site, &["--from", "0", "--webhook", &late], 0);
    assert_eq!(sent.stdout, "records read: 12, fired: 12, messages: 12, calls sent: 12\n");
    let found = receiver.wait("/late", ORDERS, SOON);
    let of = |request: &Request| serde_json::from_slice::<Value>(&request.body).unwrap()["data"][0]["id"].to_string();
    assert_eq!(found.iter().map(of).collect::<BTreeSet<_>>(), live.iter().map(of).collect());

    replay(&site, &["--from", "1h", "--webhook", &old, "--account", "acme"], 0);
    let again = receiver.wait("/old", 2 * ORDERS, SOON);
    assert_eq!((ids(&again[ORDERS..]), ids(&again[ORDERS..]).len()), (ids(&live), ORDERS));
    let bodies = |requests: &[Request]| requests.iter().map(|request| request.body.to_vec()).collect::<BTreeSet<_>>();
    assert_eq!(bodies(&again[ORDERS..]), bodies(&live), "the same bodies too");

    for tier in ["200ms", "1s"] {
        Broker::get().await_committed(&format!("{}-retries", site.group), &format!("{}.{tier}", site.retries), SOON);
    }
    assert_eq!((receiver.requests("/old").len(), receiver.requests("/late").len()), (2 * ORDERS, ORDERS));
    assert_eq!(Broker::get().commits(&site.group, &site.changes), committed, "the group's commits are unchanged");
}

#[test]
fn range_by_offsets_or_times_reports_undecodable_records() {
    let receiver = Receiver::start();
    let (site, webhook) = at_rest(1, &receiver);
    let of_minute = |minute: i64| {
        let (key, value) = order(minute as usize);
        let value = if minute == 4 { "{\"table\":".to_owned() } else { value };
        let (key, value) = (Some(key.into_bytes()), Some(value.into_bytes()));
        Stored {
            partition: 0,
            offset: 0,
            timestamp_ms: 1_790_000_000_000 + minute * 60_000,
            key,
            value,
            headers: Vec::new(),
        }
    };
    Broker::get().append(&site.changes, &(0..8).map(of_minute).collect::<Vec<_>>());

    let sent = replay(&site, &["--from", "3", "--to", "6", "--webhook", &webhook], 0);
    assert_eq!(sent.stdout, "records read: 3, fired: 2, messages: 2, calls sent: 2, undecodable: 1\n");
    assert!(sent.stderr.contains("0:4: the value is not a valid outhook record"), "{}", sent.stderr);
    assert_eq!(offsets(&written(&site)), [3, 5]);
    let empty = replay(&site, &["--from", "8", "--webhook", &webhook, "--json"], 0);
    assert!(empty.stderr.contains("has nothing in this range"), "{}", empty.stderr);
    let told: Value = serde_json::from_str(&empty.stdout).unwrap();
    assert_eq!((&told["Records"], &told["Calls"], &told["Left"]), (&json!(0), &json!(0), &Value::Null));

    // Times of records, which need a lookup of offsets by their times.
    let at = |minute: i64| {
        let at = jiff::Timestamp::from_millisecond(1_790_000_000_000 + minute * 60_000 - 1).unwrap();
        at.to_string()
    };
    replay(&site, &["--from", &at(5), "--to", &at(7), "--webhook", &webhook], 0);
    assert_eq!(offsets(&written(&site)), [3, 5, 5, 6]);
    Broker::get().delete_before(&site.changes, 2);
    let short = replay(&site, &["--spans", "0:1-4", "--webhook", &webhook], 1);
    assert!(short.stderr.contains("warning: the first 1 offsets are gone"), "{}", short.stderr);
    assert_eq!(offsets(&written(&site)), [2, 3, 3, 5, 5, 6]);
}

#[test]
fn interrupted_replay_prints_the_command_that_completes_it() {
    const MANY: usize = 300;
    let receiver = Receiver::start();
    let (site, webhook) = at_rest(3, &receiver);
    site.produce((0..MANY).map(order));
    let running =
        site.begin(&["replay", "--topic", &site.changes, "--from", "0", "--webhook", &webhook, "--rate", "50"]);
    harness::eventually("some calls are written", SOON, || (!written(&site).is_empty()).then_some(()));
    running.interrupt();
    let stopped = running.wait();
    assert_eq!(stopped.code, Some(3), "{}{}", stopped.stdout, stopped.stderr);
    let first = written(&site).len();
    assert!(first < MANY && stopped.stdout.contains(&format!("calls sent: {first}\n")), "{first}: {}", stopped.stdout);

    let line = stopped.stderr.lines().last().expect("it prints how to continue").trim();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[..2], ["outhook", "replay"], "{line}");
    let rest = site.run(&words[1..]);
    assert_eq!(rest.code, Some(0), "{}{}", rest.stdout, rest.stderr);
    let calls = written(&site);
    let messages: BTreeSet<_> = calls.iter().map(|call| waiting::field(call, waiting::MESSAGE).unwrap()).collect();
    assert_eq!((calls.len(), messages.len()), (MANY, MANY));
}

#[test]
fn invalid_replays_are_rejected_and_cancelled_calls_are_skipped() {
    let receiver = Receiver::start();
    let (mut site, webhook) = at_rest(2, &receiver);
    site.produce((0..3).map(order));
    let refused = |site: &Site, topic: &str, arguments: &[&str], part: &str| {
        let ended = site.run(&[&["replay", "--topic", topic], arguments].concat());
        assert!(ended.code == Some(1) && ended.stderr.contains(part), "{arguments:?}: {:?}", ended);
    };
    let of_webhook = ["--webhook", &webhook];
    let with = |more: &[&'static str]| [&of_webhook[..], more].concat();
    refused(&site, "nowhere", &with(&["--from", "0"]), "no source reads topic nowhere: [[sources]]");
    refused(&site, &site.changes, &["--from", "0", "--webhook", "nobody"], "there is no webhook nobody; there is ");
    refused(&site, &site.changes, &["--from", "0", "--event", "nobody"], "(table.recordInsert of \"orders\")");
    refused(&site, &site.changes, &with(&["--from", "0", "--account", "zoo"]), "in account \"zoo\"");
    refused(&site, &site.changes, &with(&["--from", "0", "--partition", "2"]), "no partition 2: it has 2");
    refused(&site, &site.changes, &with(&["--from", "1"]), "select one with --partition");
    refused(&site, &site.changes, &with(&["--from", "1h", "--to", "2h"]), "which is not after its start");
    refused(&site, &site.changes, &with(&["--from", "99", "--partition", "0"]), "is not written yet");
    assert_eq!(written(&site).len(), 0);

    let file = format!(
        "Webhooks:\n  - {{Name: crm, Account: acme, OutgoingUrls: [{:?}], Events: [\
         {{EventType: table.recordInsert, ObjectName: orders}}, \
         {{EventType: table.recordDelete, ObjectName: orders, Enabled: false}}]}}\n",
        receiver.url("/crm")
    );
    site.apply(&file);
    let short = replay(&site, &with(&["--from", "0"]), 1);
    assert!(short.stderr.contains("is skipped: it is not enabled"), "{}", short.stderr);
    assert_eq!(written(&site).len(), 3, "the others are replayed");

    let source: toml::Table = [
        ("topics".to_owned(), toml::Value::from(vec![site.changes.clone(), "missing".to_owned()])),
        ("format".to_owned(), "outhook".into()),
    ]
    .into_iter()
    .collect();
    site.set("sources", vec![source]);
    refused(&site, "missing", &with(&["--from", "0"]), "there is no topic missing");
}
