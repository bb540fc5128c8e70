//! Several instances that write definitions, kills during writes, compaction, and sealed secrets.

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use harness::{Api, Broker, Cluster, Receiver, Site, eventually, inserted_orders, order};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

const LIST: &str = "/v2/outgoingWebhooks";

/// All webhooks with their events, as an instance returns them.
fn everything(api: &Api) -> Vec<(Value, Value)> {
    let webhooks = api.get(LIST).body;
    let events = |webhook: &Value| api.get(&format!("{LIST}/{}/events", webhook["Id"].as_str().unwrap())).body;
    webhooks.as_array().unwrap().iter().map(|webhook| (webhook.clone(), events(webhook))).collect()
}

#[track_caller]
fn agree(one: &Api, other: &Api) -> Vec<(Value, Value)> {
    eventually("both instances show the same", SOON, || {
        let (one, other) = (everything(one), everything(other));
        (one == other).then_some(one)
    })
}

/// Uses a definitions topic that is compacted within seconds.
fn quickly_compacted(site: &mut Site) {
    let topic = Broker::get().unique("compacted-definitions");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1000"),
        ("delete.retention.ms", "100"),
    ];
    Broker::get().create_topic(&topic, 1, &settings);
    site.set("definitions.topic", topic.clone());
    site.definitions = topic;
}

#[test]
fn exactly_one_of_conflicting_creates_on_two_instances_wins() {
    const ROUNDS: usize = 50;
    let mut site = Site::new(OUTHOOK, 2);
    quickly_compacted(&mut site);
    let credentials = site.client(&[]);
    let instances = [site.start(), site.start()];
    let apis: Vec<Api> = instances.iter().map(|instance| instance.api(&credentials)).collect();
    let owner = apis[0].post(LIST, &json!({"Name": "owner", "OutgoingUrls": ["https://a.example/"]})).text("Id");
    eventually("the other instance has read it", SOON, || {
        (apis[1].get(&format!("{LIST}/{owner}")).status == 200).then_some(())
    });
    let clients: Vec<Api> = (0..4).map(|number| apis[number % 2].fork()).collect();
    let started = Instant::now();
    for round in 0..ROUNDS {
        let all = Barrier::new(clients.len());
        let create = |number: usize| {
            all.wait();
            // Half of the rounds compete for a webhook's name, the others for an event's place.
            if round % 2 == 0 {
                let url = format!("https://{number}.example/");
                clients[number].post(LIST, &json!({"Name": format!("round {round}"), "OutgoingUrls": [url]}))
            } else {
                let event = json!({"EventType": "table.recordInsert", "ObjectName": format!("T{round}"),
                    "CustomPayloadFields": [format!("F{number}")]});
                clients[number].post(&format!("{LIST}/{owner}/events"), &event)
            }
        };
        let answers: Vec<_> = std::thread::scope(|scope| {
            let create = &create;
            let threads: Vec<_> = (0..clients.len()).map(|number| scope.spawn(move || create(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no client panics")).collect()
        });
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 400, 400, 400], "round {round}: {answers:#?}");
    }
    println!("{ROUNDS} rounds of 4 creates over two instances: one 201 each, in {:.1?}", started.elapsed());
    let before = agree(&apis[0], &apis[1]);
    assert_eq!(before.len(), 1 + ROUNDS / 2);

    // Writes many versions of one webhook, so that compaction has work. Then both instances restart with the
    // remaining records.
    for number in 0..200 {
        let answer =
            apis[number % 2].put(&format!("{LIST}/{owner}"), &json!({"Description": format!("{number}").repeat(50)}));
        assert_eq!(answer.status, 200, "{answer:?}");
        if number % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1100));
        }
    }
    let written = Broker::get().ends(&site.definitions)[0];
    let left = eventually("the topic is compacted", Duration::from_secs(90), || {
        // Kafka considers a segment for compaction once it is rolled, so these records roll it.
        apis[0].put(&format!("{LIST}/{owner}"), &json!({"Description": "rolls"}));
        std::thread::sleep(Duration::from_millis(1200));
        let left = Broker::get().read_all(&site.definitions).len();
        (left < 150).then_some(left)
    });
    println!("compacted: {left} records are left of {written} offsets");
    let before = agree(&apis[0], &apis[1]);
    for instance in instances {
        assert_eq!(instance.stop().code, Some(0));
    }
    let instances = [site.start(), site.start()];
    let apis: Vec<Api> = instances.iter().map(|instance| instance.api(&credentials)).collect();
    assert_eq!(agree(&apis[0], &apis[1]), before, "compaction and restart change nothing");
}

#[test]
fn next_request_sees_a_write_even_if_its_commit_marker_is_late() {
    const ROUNDS: usize = 200;
    let late = Duration::from_millis(15)..Duration::from_millis(100);
    let cluster = Cluster::with_late_markers(late).expect("the broker starts");
    let site = Site::on(cluster.site_broker(), OUTHOOK, 1);
    let credentials = site.client(&[]);
    let instances = [site.start(), site.start()];
    let apis: Vec<Api> = instances.iter().map(|instance| instance.api(&credentials)).collect();
    let mut wrong = Vec::new();
    for round in 0..ROUNDS {
        // Alternates between the instances, so each takes over from the other.
        let api = &apis[round % 2];
        let webhook = json!({"Name": format!("round {round}"), "OutgoingUrls": ["https://a.example/"]});
        let created = api.post(LIST, &webhook);
        assert_eq!(created.status, 201, "round {round}: {created:?}");
        let events = format!("{LIST}/{}/events", created.text("Id"));
        let event = api.post(&events, &json!({"EventType": "table.recordInsert", "ObjectName": "orders"}));
        let same_name = api.post(LIST, &webhook);
        if (event.status, same_name.status) != (201, 400) {
            wrong.push((round, event.status, same_name.status));
        }
    }
    assert!(wrong.is_empty(), "{} of {ROUNDS} rounds (round, event, same name): {wrong:?}", wrong.len());
}

#[test]
fn kill_during_a_write_leaves_nothing_half_applied() {
    const EVENTS: usize = 200;
    const KILLS: u64 = 40;
    let site = Site::new(OUTHOOK, 1);
    let credentials = site.client(&[]);
    let mut instance = site.launch();
    let api = instance.api(&credentials);
    let id = api.post(LIST, &json!({"Name": "switch", "OutgoingUrls": ["https://a.example/"]})).text("Id");
    for number in 0..EVENTS {
        let event = json!({"EventType": "table.recordInsert", "ObjectName": format!("T{number}")});
        assert_eq!(api.post(&format!("{LIST}/{id}/events"), &event).status, 201);
    }
    let uncommitted =
        || Broker::get().read_uncommitted(&site.definitions).len() - Broker::get().read_all(&site.definitions).len();
    let (mut cut_off, mut before) = (0, 0);
    for kill in 0..KILLS {
        // Each switch writes all events in one transaction.
        let api = instance.api(&credentials);
        let one = format!("{LIST}/{id}");
        let switching = std::thread::spawn(move || {
            let mut on = false;
            while let Ok(answer) = api.try_send("PUT", &one, json!({"Enabled": on}).to_string().as_bytes()) {
                assert_eq!(answer.status, 200, "{answer:?}");
                on = !on;
            }
        });
        std::thread::sleep(Duration::from_millis(200 + kill * 7));
        instance.kill();
        switching.join().expect("all responses had status 200");
        // Kafka removes the dead member from the group only after a while. This test does not wait for that.
        instance = site.launch();
        let api = instance.api(&credentials);
        // A write fences the killed instance and ends its transaction.
        let described = json!({"Description": format!("after kill {kill}")});
        assert_eq!(api.put(&format!("{LIST}/{id}"), &described).status, 200);
        let events = api.get(&format!("{LIST}/{id}/events")).body;
        let events = events.as_array().expect("a list");
        let state = |event: &Value| (event["Status"].clone(), event["Version"].clone());
        assert_eq!(events.len(), EVENTS);
        assert!(events.iter().all(|event| state(event) == state(&events[0])), "half applied: {events:#?}");
        let after = uncommitted();
        cut_off += usize::from(after > before);
        before = after;
        // The place of a kill is random, so the test repeats kills until enough have cut a transaction.
        if kill >= 7 && cut_off >= 2 {
            println!("{} kills while writing, {cut_off} between produce and commit; nothing is half applied", kill + 1);
            return;
        }
    }
    panic!("of {KILLS} kills {cut_off} fell between produce and commit, so the test shows nothing");
}

#[test]
fn a_definition_made_on_one_instance_fires_on_the_other_within_a_second() {
    const TRIES: usize = 100;
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let credentials = site.client(&[]);
    // With one partition, one instance consumes it, and the definitions are written on the other.
    let (first, second) = (site.start(), site.start());
    site.produce([("k", r#"{"table":"T","operation":"insert","after":{"id":1}}"#)]);
    site.await_settled(SOON);
    let read = format!("outhook_records_total{{topic=\"{}\"}}", site.changes);
    let is_first = first.metrics().get(&read).is_some_and(|read| *read > 0.0);
    let (consumes, writes) = if is_first { (first, second) } else { (second, first) };
    let api = writes.api(&credentials);
    let id = api.post(LIST, &json!({"Name": "A", "OutgoingUrls": [receiver.url("/a")]})).text("Id");
    let mut delays = Vec::new();
    for number in 0..TRIES {
        let table = format!("T{number}");
        let event = json!({"EventType": "table.recordInsert", "ObjectName": table});
        assert_eq!(api.post(&format!("{LIST}/{id}/events"), &event).status, 201);
        let made = Instant::now();
        let before = receiver.requests("/a").len();
        let change = format!(r#"{{"table":"{table}","operation":"insert","after":{{"id":1}}}}"#);
        loop {
            site.produce([("k", change.as_str())]);
            let asked = Instant::now();
            while receiver.requests("/a").len() == before && asked.elapsed() < Duration::from_millis(15) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if receiver.requests("/a").len() > before {
                break;
            }
            assert!(made.elapsed() < SOON, "try {number}: it never fires");
        }
        delays.push(made.elapsed());
        site.await_settled(SOON);
    }
    delays.sort_unstable();
    let (median, most) = (delays[TRIES / 2], delays[TRIES - 1]);
    println!(
        "a definition of one instance fires on the other after {median:.1?} in the median, {most:.1?} at most, of {TRIES}"
    );
    assert!(median < Duration::from_secs(1), "{median:?}");
    assert!(consumes.metric("outhook_matches_total") >= TRIES as f64, "the other instance consumed them");
}

#[test]
fn secrets_in_the_topic_are_sealed_and_a_new_key_takes_over() {
    let mut site = Site::new(OUTHOOK, 1);
    let key = |byte: u8| {
        // Base64 of 32 equal bytes.
        HashMap::from([
            (1, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="),
            (2, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="),
        ])[&byte]
    };
    site.set("definitions.secret_keys", vec![key(1)]);
    let credentials = site.client(&[]);
    let instance = site.start();
    let api = instance.api(&credentials);
    let made = api.post(LIST, &json!({"Name": "A", "OutgoingUrls": ["https://a.example/"]}));
    let secret = made.text("Secret");
    assert_eq!(instance.stop().code, Some(0));
    let everything_written = || {
        let records = Broker::get().read_all(&site.definitions);
        records
            .iter()
            .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned())
            .collect::<String>()
    };
    let written = everything_written();
    assert!(!written.contains(&secret) && !written.contains("whsec_") && written.contains("sealed:v1:"), "{written}");

    site.set("definitions.secret_keys", vec![key(2), key(1)]);
    assert!(site.run(&["get", "--show-secrets"]).stdout.contains(&secret), "the old key still decrypts");
    let instance = site.start();
    let changed = instance.api(&credentials).put(&format!("{LIST}/{}", made.text("Id")), &json!({"Name": "B"}));
    assert_eq!(changed.status, 200);
    assert_eq!(instance.stop().code, Some(0));
    site.set("definitions.secret_keys", vec![key(2)]);
    let refused = site.run(&["get"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("definitions.secret_keys"), "{refused:?}");
    let check = site.run(&["check"]);
    assert!(
        (check.stdout + &check.stderr).contains("token-key/current"),
        "a secret that only the old key decrypts is named"
    );

    site.set("definitions.secret_keys", vec![key(2), key(1)]);
    let resealed = site.run(&["secrets", "reseal"]);
    assert_eq!((resealed.code, resealed.stdout.contains("2 records written")), (Some(0), true), "{resealed:?}");
    site.set("definitions.secret_keys", vec![key(2)]);
    let check = site.run(&["check"]);
    assert_eq!(check.code, Some(0), "the new key decrypts all secrets: {}{}", check.stdout, check.stderr);
    assert!(site.run(&["get", "--show-secrets"]).stdout.contains(&secret));
    site.set("definitions.secret_keys", Vec::<String>::new());
    let check = site.run(&["check"]);
    assert!((check.stdout + &check.stderr).contains("definitions.secret_keys does not hold"));
}

#[test]
fn changed_url_applies_as_soon_as_the_request_is_answered() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let id = api.post(LIST, &json!({"Name": "A", "OutgoingUrls": [receiver.url("/one")]})).text("Id");
    let events = format!("{LIST}/{id}/events");
    assert_eq!(api.post(&events, &json!({"EventType": "table.recordInsert", "ObjectName": "orders"})).status, 201);
    site.produce([order(1)]);
    receiver.wait("/one", 1, SOON);
    assert_eq!(api.put(&format!("{LIST}/{id}"), &json!({"OutgoingUrls": [receiver.url("/two")]})).status, 200);
    site.produce([order(2)]);
    receiver.wait("/two", 1, SOON);
    assert_eq!(receiver.requests("/one").len(), 1);
}

#[test]
fn constantly_written_instances_take_turns_and_refuse_no_request() {
    const CLIENTS: usize = 6;
    const CREATES: usize = 25;
    let site = Site::new(OUTHOOK, 1);
    let credentials = site.client(&[]);
    let instances = [site.launch(), site.launch()];
    let apis: Vec<Api> = instances.iter().map(|instance| instance.api(&credentials)).collect();
    let started = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let client = |number: usize| {
            let api = apis[number % 2].fork();
            move || {
                let mut slowest = Duration::ZERO;
                for create in 0..CREATES {
                    let asked = Instant::now();
                    let name = format!("{number}-{create}");
                    let made = api.post(LIST, &json!({"Name": name, "OutgoingUrls": ["https://a.example/"]}));
                    assert_eq!(made.status, 201, "{made:?}");
                    slowest = slowest.max(asked.elapsed());
                }
                slowest
            }
        };
        let threads: Vec<_> = (0..2 * CLIENTS).map(|number| scope.spawn(client(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("every create is a 201")).max()
    });
    let (all, took) = (2 * CLIENTS * CREATES, started.elapsed());
    println!("{all} creates by {CLIENTS} clients on each of two instances: {took:.1?}, the slowest {slowest:.1?}");
    assert_eq!(agree(&apis[0], &apis[1]).len(), all);
}

#[test]
fn instance_without_the_secret_key_stops_and_writes_and_loses_nothing() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("first", &[receiver.url("/first")]));
    let instance = site.start();
    site.produce([order(1)]);
    receiver.wait("/first", 1, SOON);
    site.set("definitions.secret_keys", vec!["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="]);
    assert_eq!(site.run(&["secrets", "reseal"]).code, Some(0));
    site.produce((2..50).map(order));
    let ended = instance.wait();
    assert!(ended.code == Some(1) && ended.stderr.contains("definitions.secret_keys"), "{ended:?}");
    site.produce((50..100).map(order));

    site.set("definitions.secret_keys", Vec::<String>::new());
    for command in [&["get"][..], &["secrets", "reseal"], &["clients", "create", "--name", "x"], &["run"]] {
        let refused = site.run(command);
        assert!(
            refused.code == Some(1) && refused.stderr.contains("definitions.secret_keys"),
            "{command:?} {refused:?}"
        );
    }
    site.set("definitions.secret_keys", vec!["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="]);
    let _instance = site.start();
    receiver.wait("/first", 99, SOON);
    site.await_settled(SOON);
}
