//! Limits of one account, and that they protect the other accounts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::{Api, Receiver, Site, inserted_orders};
use serde_json::{Value, json};

use crate::OUTHOOK;

const LIST: &str = "/v2/outgoingWebhooks";

fn webhook(name: &str) -> Value {
    json!({"Name": name, "OutgoingUrls": ["https://hooks.example.com/"]})
}

/// Creates a webhook, and returns its path.
fn made(api: &Api, name: &str) -> String {
    let made = api.post(LIST, &webhook(name));
    assert_eq!(made.status, 201, "{made:?}");
    format!("{LIST}/{}", made.text("Id"))
}

#[test]
fn constant_message_log_reads_leave_capacity_for_other_accounts() {
    let receiver = Receiver::start();
    let site = Site::new(OUTHOOK, 1);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let (of_acme, of_zoo) = (site.client(&["--account", "acme"]), site.client(&["--account", "zoo"]));
    let instance = site.start();
    let (acme, zoo) = (instance.api(&of_acme), instance.api(&of_zoo));
    let loud = format!("{}/messages", made(&acme, "loud"));
    let quiet = format!("{}/messages", made(&zoo, "quiet"));
    let (done, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let api = acme.fork();
                while !done.load(Ordering::Relaxed) {
                    let status = api.get(&loud).status;
                    assert!([200, 429].contains(&status), "{status}");
                    refused.fetch_add(usize::from(status == 429), Ordering::Relaxed);
                }
            });
        }
        let answers: Vec<u16> = (0..20).map(|_| zoo.get(&quiet).status).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(answers, [200; 20]);
    });
    assert!(refused.load(Ordering::Relaxed) > 0, "some requests exceed the limit of concurrent reads");
}

#[test]
fn definitions_of_an_account_are_limited_in_number_bytes_and_rate() {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("definitions.max_webhooks", 2);
    site.set("definitions.max_account_events", 2);
    site.set("definitions.max_account_bytes", 2_000);
    site.set("definitions.max_account_writes", 2);
    let (of_acme, of_zoo) = (site.client(&["--account", "acme"]), site.client(&["--account", "zoo"]));
    let instance = site.start();
    let (acme, zoo) = (instance.api(&of_acme), instance.api(&of_zoo));
    let (first, second) = (made(&acme, "A"), made(&acme, "B"));
    let refused = |path: &str, body: &Value, expected: &str| {
        let answer = acme.post(path, body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text("Message").contains(expected), "{answer:?}");
    };
    refused(LIST, &webhook("C"), "the account would have 3 webhooks, and at most 2 are allowed");
    let event = |table: &str, letters: usize| {
        let template = format!("{{'a': '{}'}}", "b".repeat(letters));
        json!({"EventType": "table.recordInsert", "ObjectName": table, "CustomPayloadTemplate": template})
    };
    let large = format!("{second}/events");
    refused(&large, &event("T", 3_000), "bytes of definitions, and at most 2000 are allowed");
    assert_eq!(acme.post(&large, &event("T", 100)).status, 201);
    assert_eq!(acme.post(&format!("{first}/events"), &event("T", 100)).status, 201);
    refused(&large, &event("U", 1), "the account would have 3 events, and at most 2 are allowed");

    let write = || acme.put(&first, &json!({"Description": "again"}));
    let slowed =
        (0..100).map(|_| write()).find(|answer| answer.status != 200).expect("the burst of twenty is exceeded");
    assert_eq!(slowed.status, 429, "{slowed:?}");
    assert!(slowed.text("Message").contains("2 times a second"), "{slowed:?}");
    assert_eq!(acme.get(LIST).status, 200, "reads are not limited");
    made(&zoo, "of another account");
}
