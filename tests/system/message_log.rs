//! The message log: the result of each attempt, over REST and in its topic. Delivery never waits for the log.

use std::collections::HashSet;

use harness::{Answer, Api, Broker, Instance, Receiver, Site, eventually, inserted_orders, order};
use serde_json::Value;

use crate::{OUTHOOK, SOON};

/// A site with one webhook of acme. A call has three attempts.
fn site(receiver: &Receiver, settings: &[(&str, &str)]) -> Site {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("delivery.retry", vec!["0s"; 2]);
    for (key, value) in settings {
        site.set(key, *value);
    }
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    site
}

/// The path of the only webhook's messages.
fn messages(api: &Api) -> String {
    let webhooks = api.get("/v3/outgoingWebhooks");
    format!("/integrations/rest/v3/outgoingWebhooks/{}/messages", webhooks.body[0]["Id"].as_str().expect("a webhook"))
}

/// The entries of a list, once it has `count`.
#[track_caller]
fn listed(api: &Api, path: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{path} has {count}"), SOON, || {
        let list = api.get(path);
        assert_eq!(list.status, 200, "{list:?}");
        list.body["Result"].as_array().filter(|result| result.len() == count).cloned()
    })
}

/// Every entry of the topic.
fn entries(site: &Site) -> Vec<Value> {
    let records = Broker::get().read_all(&site.message_log);
    records.iter().map(|record| serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()).collect()
}

#[test]
fn message_lists_its_attempts_with_address_and_response() {
    let receiver = Receiver::start();
    let site = site(&receiver, &[]);
    receiver.answer_first("/orders", [Answer::Body(503, "later, please"), Answer::Status(500)]);
    receiver.answer("/orders", Answer::Body(200, "thanks"));
    let (of_acme, of_zoo) = (site.client(&["--account", "acme"]), site.client(&["--account", "zoo"]));
    let instance = site.start();
    let (acme, zoo) = (instance.api(&of_acme), instance.api(&of_zoo));
    site.produce([order(1)]);
    let sent = receiver.wait("/orders", 3, SOON);
    let (path, id) = (messages(&acme), sent[0].message_id.clone());

    let message = eventually("all attempts are logged", SOON, || {
        let message = acme.get(&format!("{path}/{id}"));
        message.body["Attempts"].as_array().is_some_and(|attempts| attempts.len() == 3).then_some(message)
    });
    assert_eq!(message.keys(), ["MessageId", "WebhookId", "EventId", "Attempts", "Complete"]);
    assert_eq!((message.text("MessageId"), &message.body["Complete"]), (id.clone(), &Value::Bool(true)));
    let address = receiver.url("").replace("http://", "");
    let expected = [
        ("WillRetry", 503, "status_5xx", Some("later, please")),
        ("WillRetry", 500, "status_5xx", None),
        ("Delivered", 200, "status_2xx", Some("thanks")),
    ];
    for (number, (attempt, (status, code, class, response))) in
        message.body["Attempts"].as_array().unwrap().iter().zip(expected).enumerate()
    {
        assert_eq!((&attempt["Status"], &attempt["HttpStatus"]), (&status.into(), &code.into()), "{attempt}");
        assert_eq!((&attempt["Class"], attempt["Response"].as_str()), (&class.into(), response), "{attempt}");
        let answered = [Some("503 Service Unavailable"), Some("500 Internal Server Error"), None][number];
        let cause = answered.map(|status| format!("http://{address} answered {status}"));
        assert_eq!(attempt["Cause"].as_str(), cause.as_deref());
        assert_eq!((&attempt["Attempts"], &attempt["MessageId"]), (&(number + 1).into(), &id.as_str().into()));
        assert_eq!((&attempt["Address"], &attempt["Url"]), (&address.as_str().into(), &receiver.url("/orders").into()));
        assert_eq!(attempt["RequestBytes"], sent[number].body.len());
        assert!(attempt["LatencyMs"].as_f64().unwrap() > 0.0 && attempt["NextAttempt"].is_string() == (number < 2));
        let place = (&attempt["Topic"], &attempt["Partition"], &attempt["Offset"]);
        assert_eq!(place, (&site.changes.as_str().into(), &0.into(), &0.into()));
    }
    assert!(!message.text.contains("whsec_"));

    // In a list: the message with its last state, and with its last failure.
    let all = listed(&acme, &path, 1);
    assert_eq!((&all[0]["Status"], &all[0]["Attempts"]), (&"Delivered".into(), &3.into()));
    let failed = listed(&acme, &format!("{path}?Status=Failed"), 1);
    assert_eq!((&failed[0]["Status"], &failed[0]["Attempts"]), (&"WillRetry".into(), &2.into()));
    for foreign in [path.clone(), format!("{path}/{id}")] {
        let refused = zoo.get(&foreign);
        assert_eq!((refused.status, refused.text("Code").as_str()), (404, "ObjectNotFound"), "{foreign}");
    }
    assert_eq!(acme.with_token("").get(&path).status, 401);
    let partitions: HashSet<_> =
        Broker::get().read_all(&site.message_log).iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 1);
}

#[test]
fn queries_filter_messages_and_invalid_ones_are_rejected() {
    let receiver = Receiver::start();
    let site = site(&receiver, &[]);
    receiver.answer_first("/orders", [Answer::Status(410)]);
    let credentials = site.client(&["--account", "acme"]);
    let instance = site.start();
    let acme = instance.api(&credentials);
    let path = messages(&acme);
    site.produce([order(1)]);
    site.await_settled(SOON);
    receiver.wait("/orders", 1, SOON);
    let first = listed(&acme, &path, 1).remove(0);
    let (event, id) = (first["EventId"].as_str().unwrap(), first["MessageId"].as_str().unwrap());
    for (query, expected) in [
        ("Status=Exhausted".to_owned(), 1),
        ("Status=Failed".to_owned(), 1),
        ("Status=Delivered".to_owned(), 0),
        (format!("EventId={event}&MessageId={id}"), 1),
        ("EventId=zzzzzz".to_owned(), 0),
        ("Since=2026-01-01T00:00:00Z&Until=2126-01-01T00:00:00Z&Limit=200".to_owned(), 1),
        ("Since=2126-01-01T00:00:00Z".to_owned(), 0),
        ("Until=2026-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let found = acme.get(&format!("{path}?{query}"));
        assert_eq!((found.status, found.body["Result"].as_array().map(Vec::len)), (200, Some(expected)), "{query}");
    }
    for (query, part) in [
        ("Colour=red", "unknown parameter `Colour`"),
        (
            "Status=Lost",
            "Status: \"Lost\" is not a status: use Delivered, WillRetry, Exhausted or Cancelled, or Failed",
        ),
        ("MessageId=7", "MessageId: \"7\" is not a message's id"),
        ("Since=yesterday", "Since is \"yesterday\""),
        ("Limit=201", "Limit is \"201\": use a number from 1 to 200"),
        ("Cursor=garbage", "Cursor: this is not the cursor of an earlier page"),
    ] {
        let refused = acme.get(&format!("{path}?{query}"));
        assert_eq!((refused.status, refused.text("Code").as_str()), (400, "IncorrectQueryParameter"), "{query}");
        assert!(refused.text("Message").contains(part), "{query}: {refused:?}");
    }
    for missing in ["00000000-0000-0000-0000-000000000000", "x"] {
        assert_eq!(acme.get(&format!("{path}/{missing}")).status, 404, "{missing}");
    }
    let elsewhere = acme.get(&format!("{path}/{id}?Until=2026-01-01T00:00:00Z"));
    assert_eq!(elsewhere.status, 404, "{elsewhere:?}");
}

#[test]
fn pages_go_back_through_all_messages() {
    let receiver = Receiver::start();
    let site = site(&receiver, &[]);
    let credentials = site.client(&["--account", "acme"]);
    let instance = site.start();
    let acme = instance.api(&credentials);
    site.produce((0..60).map(order));
    receiver.wait("/orders", 60, SOON);
    let path = messages(&acme);
    listed(&acme, &format!("{path}?Limit=200"), 60);
    let (mut found, mut next) = (HashSet::new(), Value::Null);
    for pages in 0..4 {
        let cursor = next.as_str().map_or(String::new(), |cursor| format!("&Cursor={cursor}"));
        let page = acme.get(&format!("{path}?Limit=25{cursor}"));
        found.extend(page.body["Result"].as_array().unwrap().iter().map(|message| message["MessageId"].to_string()));
        next = page.body["NextCursor"].clone();
        if next.is_null() {
            assert_eq!(pages, 2);
            break;
        }
    }
    assert_eq!((found.len(), next), (60, Value::Null));
}

/// The output of a command, after a check of its exit code.
#[track_caller]
fn said(site: &Site, arguments: &[&str], code: i32) -> String {
    let ended = site.run(&[&["messages"], arguments].concat());
    assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout + &ended.stderr
}

#[test]
fn messages_command_lists_shows_and_resends() {
    let receiver = Receiver::start();
    let site = site(&receiver, &[]);
    receiver.answer_first("/orders", [Answer::Body(503, "later, please"), Answer::Status(204)]);
    let instance = site.start();
    site.produce([order(1)]);
    receiver.wait("/orders", 2, SOON);
    site.await_settled(SOON);
    site.produce([order(2)]);
    let sent = receiver.wait("/orders", 3, SOON);
    eventually("all attempts are logged", SOON, || (entries(&site).len() == 3).then_some(()));
    let (first, second) = (sent[0].message_id.as_str(), sent[2].message_id.as_str());

    let table = said(&site, &["list"], 0);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("MESSAGE ") && lines[1].starts_with(second) && lines[2].starts_with(first), "{table}");
    assert!(lines.len() == 3 && lines[2].contains(" Delivered  status_2xx ") && lines[2].contains(" 2  "), "{table}");
    let listed = |arguments: &[&str]| -> Vec<Value> {
        let said = said(&site, &[&["list", "--json"], arguments].concat(), 0);
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = listed(&[]);
    let (webhook, event) = (all[0]["WebhookId"].as_str().unwrap(), all[0]["EventId"].as_str().unwrap());
    for (arguments, expected) in [
        (&["--webhook", webhook, "--event", event, "--account", "acme"][..], vec![second, first]),
        (&["--status", "Failed"], vec![first]),
        (&["--status", "Exhausted"], vec![]),
        (&["--message", second, "--since", "1h"], vec![second]),
        (&["--since", "2126-01-01"], vec![]),
        (&["--until", "2026-01-01"], vec![]),
        (&["--account", "zoo"], vec![]),
        (&["--limit", "1"], vec![second]),
    ] {
        let ids: Vec<_> = listed(arguments).iter().map(|call| call["MessageId"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, expected, "{arguments:?}");
    }
    assert_eq!(said(&site, &["list", "--account", "zoo"], 0), "no messages\n");
    assert!(said(&site, &["list", "--status", "Lost"], 2).contains("is not a status: use Delivered, WillRetry,"));

    let shown = said(&site, &["show", first], 0);
    let (failed, delivered) = shown.split_once("\nattempt 2: Delivered\n").expect("it has both attempts");
    assert!(failed.contains("\nattempt 1: WillRetry\n") && failed.contains("  answer      later, please\n"), "{shown}");
    assert!(failed.contains(&format!("  address     {}\n", receiver.url("").replace("http://", ""))), "{shown}");
    assert!(delivered.contains("  status      204\n") && delivered.contains("  class       status_2xx\n"), "{shown}");
    let json: Value = serde_json::from_str(&said(&site, &["show", first, "--json"], 0)).unwrap();
    assert_eq!((&json["MessageId"], json["Attempts"].as_array().map(Vec::len)), (&first.into(), Some(2)));
    let unknown = "00000000-0000-8000-8000-000000000000";
    assert!(said(&site, &["show", unknown], 1).contains("there is no message 00000000-"));

    let resent = said(&site, &["resend", second], 0);
    assert_eq!(resent, format!("{second}  sent again to its URL\n"));
    let again = receiver.wait("/orders", 4, SOON).remove(3);
    assert_eq!((&again.message_id, &again.body), (&sent[2].message_id, &sent[2].body));
    assert!(said(&site, &["resend", unknown], 1).starts_with(&format!("{unknown}  skipped: there is no message ")));
    assert_eq!(instance.stop().code, Some(0));
}

#[test]
fn level_selects_the_attempts_that_are_logged() {
    let logged = |level: &str| -> (Site, Instance, Api) {
        let receiver = Receiver::start();
        let site = site(&receiver, &[("message_log.level", level)]);
        receiver.answer_first("/orders", [Answer::Status(204), Answer::Status(500), Answer::Status(204)]);
        let credentials = site.client(&["--account", "acme"]);
        let instance = site.start();
        for number in 1..=2 {
            site.produce([order(number)]);
            site.await_settled(SOON);
        }
        receiver.wait("/orders", 3, SOON);
        let acme = instance.api(&credentials);
        (site, instance, acme)
    };
    let (site, instance, _) = logged("failures");
    assert_eq!(instance.stop().code, Some(0));
    let kept = entries(&site);
    let kept: Vec<_> =
        kept.iter().map(|entry| (entry["status"].as_str().unwrap(), entry["attempts"].as_u64())).collect();
    assert_eq!(kept, [("WillRetry", Some(1)), ("Delivered", Some(2))]);

    let (_site, _instance, acme) = logged("off");
    let refused = acme.get(&messages(&acme));
    assert_eq!(refused.status, 404, "{refused:?}");
    assert!(refused.text("Message").contains("message_log.level is off"), "{refused:?}");
}

#[test]
fn stop_flushes_the_message_log() {
    let receiver = Receiver::start();
    let site = site(&receiver, &[]);
    let instance = site.start();
    site.produce((0..200).map(order));
    receiver.wait("/orders", 200, SOON);
    assert_eq!(instance.stop().code, Some(0));
    assert_eq!(entries(&site).len(), 200);
}

#[test]
fn rejected_log_entries_are_counted_and_do_not_delay_delivery() {
    let receiver = Receiver::start();
    let site = site(&receiver, &[]);
    Broker::get().create_topic(&site.message_log, 1, &[("max.message.bytes", "10")]);
    let instance = site.start();
    site.produce((0..200).map(order));
    site.await_settled(SOON);
    assert_eq!(receiver.requests("/orders").len(), 200);
    eventually("the dropped entries are counted", SOON, || {
        (instance.metric("outhook_message_log_dropped_total") == 200.0).then_some(())
    });
    let said = instance.stop();
    assert_eq!(said.code, Some(0));
    let told = (said.stdout + &said.stderr).matches("message log entries are dropped, and delivery").count();
    assert_eq!(told, 1, "logged once a minute");
}

#[test]
fn message_is_resent_unchanged_and_only_by_its_account() {
    let receiver = Receiver::start();
    let site = site(&receiver, &[]);
    let (of_acme, of_zoo) = (site.client(&["--account", "acme"]), site.client(&["--account", "zoo"]));
    let instance = site.start();
    let (acme, zoo) = (instance.api(&of_acme), instance.api(&of_zoo));
    site.produce([order(1), order(2)]);
    let sent = receiver.wait("/orders", 2, SOON);
    let path = messages(&acme);
    listed(&acme, &path, 2);
    let resend = |id: &str| format!("{path}/{id}/resend");
    let id = sent[1].message_id.as_str();

    let nothing = Value::Object(Default::default());
    let unknown = resend("00000000-0000-8000-8000-000000000000");
    for refused in [zoo.post(&resend(id), &nothing), acme.post(&unknown, &nothing), acme.post(&resend("x"), &nothing)] {
        assert_eq!((refused.status, refused.text("Code").as_str()), (404, "ObjectNotFound"), "{refused:?}");
    }
    let again = acme.post(&resend(id), &nothing);
    assert_eq!((again.status, &again.body["Calls"]), (200, &1.into()), "{again:?}");
    let all = receiver.wait("/orders", 3, SOON);
    assert_eq!((&all[2].message_id, &all[2].body), (&sent[1].message_id, &sent[1].body));
    assert_eq!(instance.metrics()["outhook_redriven_total{how=\"resend\"}"], 1.0);

    let webhook = path.trim_end_matches("/messages");
    assert_eq!(acme.put(webhook, &serde_json::json!({"Enabled": false})).status, 200);
    let refused = acme.post(&resend(id), &nothing);
    assert_eq!((refused.status, refused.text("Code").as_str()), (409, "Conflict"), "{refused:?}");
    assert!(refused.text("Message").contains("is not enabled"), "{refused:?}");
}
