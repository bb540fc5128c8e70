//! Dead letters can be found: over REST by account, on the command line by the operator.

use std::collections::HashSet;
use std::time::SystemTime;

use harness::{Answer, Api, Broker, Instance, Receiver, SECRET, Site, Stored};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

const PARTITIONS: i32 = 3;

/// A site whose calls fail after one retry, with a dead-letter topic created by the program.
fn site() -> Site {
    let mut site = Site::new(OUTHOOK, 1);
    site.dead_letters = Broker::get().unique("dead-letters");
    Broker::get().create_topic(&site.dead_letters, PARTITIONS, &[]);
    site.set("dead_letters.topic", site.dead_letters.clone());
    site.set("delivery.retry", vec!["0s"]);
    site
}

/// Webhooks of two accounts, each with one event.
fn webhooks(of: &[(&str, &str, String)]) -> String {
    let one = |(account, name, url): &(&str, &str, String)| {
        format!(
            "  - {{Account: {account}, Name: {name}, OutgoingUrls: [{url:?}], Secret: {SECRET}, \
             Events: [{{EventType: table.recordInsert, ObjectName: {name}}}]}}\n"
        )
    };
    format!("Webhooks:\n{}", of.iter().map(one).collect::<String>())
}

fn insert(account: &str, table: &str, number: usize) -> (String, String) {
    let change = json!({"account": account, "table": table, "operation": "insert", "after": {"id": number}});
    (number.to_string(), change.to_string())
}

/// The id of the only webhook of an account.
fn only_webhook(api: &Api) -> String {
    let webhooks = api.get("/v3/outgoingWebhooks");
    assert_eq!(webhooks.body.as_array().map(Vec::len), Some(1), "{webhooks:?}");
    webhooks.body[0]["Id"].as_str().unwrap().to_owned()
}

fn list(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let ended = site.run(&[&["dead-letters", "list", "--json"], arguments].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Failed {
    site: Site,
    receiver: Receiver,
    instance: Instance,
    acme: Api,
    zoo: Api,
}

/// Three dead-lettered calls of acme and two of zoo, and a dead-lettered record.
fn failed() -> Failed {
    let (site, receiver) = (site(), Receiver::start());
    receiver.answer("/acme", Answer::Status(500));
    receiver.answer("/zoo", Answer::Status(404));
    site.apply(&webhooks(&[("acme", "orders", receiver.url("/acme")), ("zoo", "animals", receiver.url("/zoo"))]));
    let (of_acme, of_zoo) = (site.client(&["--account", "acme"]), site.client(&["--account", "zoo"]));
    let instance = site.start();
    site.produce((0..3).map(|number| insert("acme", "orders", number)));
    site.produce((3..5).map(|number| insert("zoo", "animals", number)));
    site.produce([("key", "{\"table\":")]);
    site.await_settled(SOON);
    let (acme, zoo) = (instance.api(&of_acme), instance.api(&of_zoo));
    Failed { site, receiver, instance, acme, zoo }
}

#[test]
fn account_sees_only_its_own_letters() {
    let Failed { site: _site, receiver, instance, acme, zoo } = failed();
    let (of_acme, of_zoo) = (only_webhook(&acme), only_webhook(&zoo));
    let path =
        |webhook: &str, rest: &str| format!("/integrations/rest/v3/outgoingWebhooks/{webhook}/deadLetters{rest}");
    let mine = acme.get(&path(&of_acme, ""));
    assert_eq!((mine.status, mine.keys()), (200, ["Result", "NextCursor"].map(str::to_owned).to_vec()), "{mine:?}");
    let letters = mine.body["Result"].as_array().unwrap();
    assert_eq!((letters.len(), &mine.body["NextCursor"]), (3, &Value::Null));
    let sent: HashSet<_> = receiver.requests("/acme").into_iter().map(|request| request.message_id).collect();
    for letter in letters {
        assert_eq!(
            (&letter["Kind"], &letter["Class"], &letter["Status"]),
            (&"call".into(), &"status_5xx".into(), &500.into())
        );
        assert_eq!((&letter["WebhookId"], &letter["Attempts"]), (&of_acme.as_str().into(), &2.into()));
        assert!(sent.contains(letter["MessageId"].as_str().unwrap()), "{letter}");
    }
    assert!(!mine.text.contains("whsec_"));
    assert_eq!(zoo.get(&path(&of_zoo, "")).body["Result"].as_array().unwrap().len(), 2);

    let id = letters[0]["Id"].as_str().unwrap();
    let opened = acme.get(&path(&of_acme, &format!("/{id}")));
    assert_eq!((opened.status, &opened.body["BodyCut"]), (200, &false.into()), "{opened:?}");
    let body = opened.text("Body");
    assert!(body.contains("\"secret\":\"whsec_…\"") && !opened.text.contains(&SECRET[6..]), "{body}");
    assert_eq!(opened.body["MessageId"], serde_json::from_str::<Value>(&body).unwrap()["messageId"]);

    // A webhook of another account is not found, and neither is its letter under a webhook of this account.
    for foreign in [path(&of_acme, ""), path(&of_acme, &format!("/{id}")), path(&of_zoo, &format!("/{id}"))] {
        let refused = zoo.get(&foreign);
        assert_eq!((refused.status, refused.text("Code").as_str()), (404, "ObjectNotFound"), "{foreign}");
    }
    for missing in ["0:99999", "99:0", "x", "-1:0"] {
        assert_eq!(acme.get(&path(&of_acme, &format!("/{missing}"))).status, 404, "{missing}");
    }
    assert_eq!(acme.with_token("").get(&path(&of_acme, "")).status, 401);
    assert!(instance.is_ready());
}

#[test]
fn queries_filter_letters_and_invalid_ones_are_rejected() {
    // A dropped instance or site ends, so all are bound to names.
    let Failed { acme, site: _site, instance: _instance, .. } = failed();
    let webhook = only_webhook(&acme);
    let events = acme.get(&format!("/v2/outgoingWebhooks/{webhook}/events"));
    let event = events.body[0]["Id"].as_str().unwrap().to_owned();
    let get = |query: &str| acme.get(&format!("/v2/outgoingWebhooks/{webhook}/deadLetters?{query}"));
    let all = get("");
    let message = all.body["Result"][0]["MessageId"].as_str().unwrap().to_owned();
    for (query, expected) in [
        (format!("EventId={event}"), 3),
        ("EventId=zzzzzz".to_owned(), 0),
        ("Class=status_5xx&Limit=200".to_owned(), 3),
        ("Class=timeout".to_owned(), 0),
        (format!("MessageId={message}"), 1),
        ("Since=2026-01-01T00:00:00Z&Until=2126-01-01T00:00:00Z".to_owned(), 3),
        ("Since=2126-01-01T00:00:00Z".to_owned(), 0),
        ("Until=2026-01-01T00:00:00Z".to_owned(), 0),
        ("Limit=2".to_owned(), 2),
    ] {
        let found = get(&query);
        assert_eq!(
            (found.status, found.body["Result"].as_array().unwrap().len()),
            (200, expected),
            "{query}: {found:?}"
        );
        assert_eq!(found.body["NextCursor"].is_string(), query == "Limit=2", "{query}: {found:?}");
    }
    for (query, part) in [
        ("Colour=red", "unknown parameter `Colour`, expected one of `EventId`"),
        ("EventId=x", "EventId: \"x\" is not an id"),
        ("MessageId=7", "MessageId: \"7\" is not a message's id"),
        ("Class=Bad+class", "Class is \"Bad class\""),
        ("Since=yesterday", "Since is \"yesterday\""),
        ("Limit=0", "Limit is \"0\": use a number from 1 to 200"),
        ("Limit=201", "Limit is \"201\""),
        ("Limit=1&Limit=2", "duplicate parameter `Limit`"),
        ("Cursor=garbage", "Cursor: this is not the cursor of an earlier page"),
        ("Cursor=", "Cursor"),
    ] {
        let refused = get(query);
        assert_eq!((refused.status, refused.text("Code").as_str()), (400, "IncorrectQueryParameter"), "{query}");
        assert!(refused.text("Message").contains(part), "{query}: {refused:?}");
    }
}

#[test]
fn the_command_line_lists_and_shows_letters_of_all_accounts() {
    let Failed { site, receiver, acme, instance: _instance, .. } = failed();
    let webhook = only_webhook(&acme);
    let all = list(&site, &[]);
    assert_eq!(all.len(), 6);
    let endpoint = receiver.url("");
    for (arguments, expected) in [
        (vec!["--webhook", webhook.as_str()], 3),
        (vec!["--account", "zoo"], 2),
        (vec!["--class", "undecodable"], 1),
        (vec!["--kind", "record"], 1),
        (vec!["--kind", "call", "--limit", "4"], 4),
        (vec!["--endpoint", endpoint.as_str()], 5),
        (vec!["--endpoint", "https://a.example"], 0),
        (vec!["--since", "1h", "--until", "2126-01-01"], 6),
        (vec!["--until", "1h"], 0),
    ] {
        assert_eq!(list(&site, &arguments).len(), expected, "{arguments:?}");
    }
    let table = site.run(&["dead-letters", "list", "--account", "zoo"]).stdout;
    assert!(table.lines().count() == 3 && table.starts_with("ID ") && table.contains("status_4xx"), "{table}");

    let of_acme = all.iter().find(|letter| letter["Account"] == "acme").unwrap();
    let (id, message) = (of_acme["Id"].as_str().unwrap(), of_acme["MessageId"].as_str().unwrap());
    for named in [id, message] {
        let shown = site.run(&["dead-letters", "show", named]);
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        assert!(shown.stdout.contains(message) && shown.stdout.contains("\"secret\":\"whsec_…\""), "{}", shown.stdout);
        assert!(!shown.stdout.contains(SECRET));
        assert!(site.run(&["dead-letters", "show", named, "--show-secrets"]).stdout.contains(SECRET));
        let json = site.run(&["dead-letters", "show", named, "--json"]).stdout;
        assert!(!json.contains(SECRET) && serde_json::from_str::<Value>(&json).unwrap()["Id"] == id, "{json}");
    }
    for (arguments, code, part) in [
        (["show", "0:99999"], 1, "there is no dead letter 0:99999"),
        (["show", "00000000-0000-0000-0000-000000000000"], 1, "there is no dead letter of message 00000000"),
        (["show", "x"], 2, "neither a dead letter's id"),
        (["list", "--since=tomorrow"], 2, "is not a time"),
        (["list", "--endpoint=a.example"], 2, "is not the beginning of a URL"),
    ] {
        let refused = site.run(&[&["dead-letters"], &arguments[..]].concat());
        assert!(refused.code == Some(code) && refused.stderr.contains(part), "{arguments:?}: {}", refused.stderr);
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A letter that the program has written.
fn letter_of_acme(site: &Site) -> Stored {
    let letters = Broker::get().read_all(&site.dead_letters);
    letters.into_iter().find(|letter| letter.header("outhook-account") == Some("acme")).unwrap()
}

/// A copy of a letter. Copies are 5 seconds apart, in one partition after the other.
fn copy(letter: &Stored, start_ms: i64, number: u32) -> Stored {
    let (partition, timestamp_ms) = (number as i32 % PARTITIONS, start_ms + 5_000 * i64::from(number));
    let mut copy = Stored { partition, timestamp_ms, ..letter.clone() };
    let attempts = copy.headers.iter_mut().find(|(name, _)| name == "outhook-attempts").unwrap();
    attempts.1 = (1_000 + number).to_string();
    copy
}

#[test]
fn pages_hold_every_letter_once_and_newest_first_during_writes() {
    let Failed { site, acme, instance: _instance, .. } = failed();
    let webhook = only_webhook(&acme);
    let (model, start) = (letter_of_acme(&site), now_ms());
    let copy = |number: u32| copy(&model, start, number);
    Broker::get().append(&site.dead_letters, &(0..600).map(copy).collect::<Vec<_>>());

    let get = |query: &str| acme.get(&format!("/v3/outgoingWebhooks/{webhook}/deadLetters?{query}"));
    let (mut pages, mut found, mut next) = (0, Vec::new(), Value::Null);
    while pages == 0 || next.is_string() {
        let cursor = next.as_str().map_or(String::new(), |cursor| format!("&Cursor={cursor}"));
        let page = get(&format!("Limit=70{cursor}"));
        assert_eq!(page.status, 200, "{page:?}");
        found.extend(page.body["Result"].as_array().unwrap().clone());
        (pages, next) = (pages + 1, page.body["NextCursor"].clone());
        // Newer than the first page, so it is on none of the pages.
        Broker::get().append(&site.dead_letters, &[Stored { timestamp_ms: start + 3_100_000, ..copy(pages) }]);
    }
    let attempts =
        |letters: &[Value]| letters.iter().map(|letter| letter["Attempts"].as_u64().unwrap()).collect::<Vec<_>>();
    assert!(pages >= 9, "{pages}");
    assert_eq!(found.len(), 603);
    assert_eq!(attempts(&found[..600]), (1_000..1_600).rev().collect::<Vec<_>>(), "each once, the newest first");
    assert_eq!(attempts(&found[600..]), [2; 3], "the calls that really failed");
    let ids: HashSet<_> = found.iter().map(|letter| letter["Id"].to_string()).collect();
    assert_eq!(ids.len(), 603);

    let since = found[100]["Written"].as_str().unwrap();
    let until = found[50]["Written"].as_str().unwrap();
    let part = get(&format!("Since={since}&Until={until}&Limit=200"));
    assert_eq!(
        (part.body["Result"].as_array().unwrap().as_slice(), &part.body["NextCursor"]),
        (&found[51..=100], &Value::Null)
    );
    let newest = found[0]["Written"].as_str().unwrap();
    let listed = list(&site, &["--limit", "1000000", "--webhook", &webhook, "--until", newest]);
    assert_eq!(listed, found[1..], "the command line finds the same");
}

#[test]
fn letters_deleted_between_two_pages_are_not_an_error() {
    let Failed { site, acme, instance: _instance, .. } = failed();
    let (model, start) = (letter_of_acme(&site), now_ms());
    let copies: Vec<_> = (0..300).map(|number| copy(&model, start, number)).collect();
    Broker::get().append(&site.dead_letters, &copies);
    let list = format!("/v3/outgoingWebhooks/{}/deadLetters", only_webhook(&acme));
    let first = acme.get(&format!("{list}?Limit=50"));
    Broker::get().delete_before(&site.dead_letters, 60);
    let rest = acme.get(&format!("{list}?Limit=200&Cursor={}", first.text("NextCursor")));
    assert_eq!((rest.status, &rest.body["NextCursor"]), (200, &Value::Null), "{rest:?}");
    let mut offsets: Vec<_> = [&first, &rest]
        .into_iter()
        .flat_map(|page| page.body["Result"].as_array().unwrap())
        .map(|letter| {
            let (_, offset) = letter["Id"].as_str().unwrap().split_once(':').unwrap();
            offset.parse::<i64>().unwrap()
        })
        .collect();
    offsets.sort_unstable();
    let mut expected: Vec<i64> = Broker::get().ends(&site.dead_letters).into_iter().flat_map(|end| 60..end).collect();
    expected.sort_unstable();
    assert_eq!(offsets, expected, "all remaining letters, and none twice");
    let deleted = acme.get(&format!("{list}/0:59"));
    assert_eq!((deleted.status, acme.get(&format!("{list}/0:60")).status), (404, 200), "{deleted:?}");
}
