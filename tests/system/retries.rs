//! Waiting calls: in retry topics, through kills and changes of their definitions.

use std::time::Duration;

use harness::{Answer, Broker, Receiver, SECRET, Signature, Site, inserted_orders, large_order, order, webhooks};

use crate::{OUTHOOK, SOON, waiting};

#[test]
fn waiting_call_survives_a_kill_of_its_instance() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["0s", "3s"]);
    site.set("kafka.session_timeout", "6s");
    receiver.verify("/orders", SECRET);
    receiver.answer_first("/orders", [Answer::Status(500), Answer::Status(500)]);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let first = site.start();
    site.produce([order(1)]);
    receiver.wait("/orders", 2, SOON);
    // A call in a retry topic settles its row change.
    site.await_settled(SOON);
    first.kill();
    let second = site.start();

    let attempts = receiver.wait("/orders", 3, SOON);
    assert!(attempts.iter().all(|attempt| attempt.signature == Signature::Good));
    assert!(attempts.windows(2).all(|pair| pair[0].message_id == pair[1].message_id && pair[0].body == pair[1].body));
    let waited = attempts[2].at - attempts[1].at;
    assert!(waited >= Duration::from_secs(3), "retried after {waited:?}");
    assert_eq!(second.stop().code, Some(0));
    assert_eq!(receiver.requests("/orders").len(), 3);
}

/// After a crash, calls that were written but not committed are written again.
#[test]
fn duplicate_of_a_waiting_call_is_skipped() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["3s", "0s"]);
    site.set("retries.tiers", vec!["3s"]);
    receiver.answer_first("/orders", [Answer::Status(500)]);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    site.produce([order(1)]);
    let (broker, tier) = (Broker::get(), format!("{}.3s", site.retries));
    let waits = harness::eventually("the call waits", SOON, || broker.read_all(&tier).pop());
    broker.append(&tier, &[waits.clone(), waits.clone()]);

    let group = format!("{}-retries", site.group);
    harness::eventually("all three are read", SOON, || {
        let committed: i64 = broker.committed(&group, &tier).into_iter().flatten().sum();
        (committed >= 3).then_some(())
    });
    assert_eq!(instance.metric("outhook_retry_copies_total"), 2.0);
    assert_eq!(receiver.requests("/orders").len(), 2, "the failed attempt, and one retry");
    assert_eq!(instance.stop().code, Some(0));
}

#[test]
fn retry_schedule_runs_in_time_and_ends_in_a_dead_letter() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let waits = [0, 300, 700, 1500, 2500];
    site.set("delivery.retry", waits.map(|wait| format!("{wait}ms")).to_vec());
    receiver.answer("/orders", Answer::Status(503));
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let _instance = site.start();
    site.produce([order(1)]);

    let attempts = receiver.wait("/orders", 6, SOON);
    for (pair, planned) in attempts.windows(2).zip(waits) {
        let (waited, planned) = (pair[1].at - pair[0].at, Duration::from_millis(planned));
        println!("planned {planned:?}, waited {waited:?}");
        assert!(waited >= planned, "planned {planned:?}, waited {waited:?}");
        assert!(waited <= planned * 6 / 5 + Duration::from_secs(10), "planned {planned:?}, waited {waited:?}");
    }
    harness::eventually("the dead letter is written", SOON, || {
        let letters = harness::Broker::get().read_all(&site.dead_letters);
        (letters.len() == 1 && letters[0].header("outhook-attempts") == Some("6")).then_some(())
    });
}

#[test]
fn retry_uses_the_current_url_and_the_original_body() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["2s"]);
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    receiver.answer("/old", Answer::Status(500));
    receiver.verify("/new", other);
    site.apply(&inserted_orders("shipping", &[receiver.url("/old")]));
    let _instance = site.start();
    site.produce([order(1)]);
    let [before] = receiver.wait("/old", 1, SOON).try_into().expect("one attempt");
    site.apply(&inserted_orders("shipping", &[receiver.url("/new")]).replace(SECRET, other));

    let [after] = receiver.wait("/new", 1, SOON).try_into().expect("one attempt");
    assert_eq!(after.signature, Signature::Good);
    assert_eq!((before.message_id, before.body), (after.message_id, after.body));
    assert_eq!(receiver.requests("/old").len(), 1);
}

#[test]
fn waiting_calls_of_deleted_events_are_cancelled_and_others_are_sent() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["2s"]);
    receiver.answer_first("/gone", [Answer::Status(500)]);
    receiver.answer_first("/kept", [Answer::Status(500)]);
    let events: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
    let (gone, kept) = ([receiver.url("/gone")], [receiver.url("/kept")]);
    site.apply(&webhooks(&[("gone", &gone, events), ("kept", &kept, events)]));
    let instance = site.start();
    site.produce([order(1)]);
    receiver.wait("/gone", 1, SOON);
    receiver.wait("/kept", 1, SOON);
    let file = site.file("yaml", &webhooks(&[("kept", &kept, events)]));
    let pruned = site.run(&["apply", "--prune", "-f", &file.display().to_string()]);
    assert_eq!(pruned.code, Some(0), "{}{}", pruned.stdout, pruned.stderr);

    receiver.wait("/kept", 2, SOON);
    harness::eventually("the other one is cancelled", SOON, || {
        (instance.metrics().get(r#"outhook_calls_total{outcome="cancelled"}"#) == Some(&1.0)).then_some(())
    });
    assert_eq!(receiver.requests("/gone").len(), 1);
    assert_eq!(harness::Broker::get().read_all(&site.dead_letters).len(), 0);
}

#[test]
fn hanging_endpoint_delays_no_other_and_gets_all_calls_once_it_works() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.first_byte_timeout", "2s");
    site.set("delivery.connect_timeout", "2s");
    site.set("delivery.queue_calls", 64);
    receiver.answer("/hangs", Answer::Hang);
    let events: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
    let (hangs, sound) = ([receiver.url("/hangs")], [receiver.url("/sound")]);
    site.apply(&webhooks(&[("hangs", &hangs, events), ("sound", &sound, events)]));
    let instance = site.start();
    site.produce((0..3000).map(order));

    receiver.wait("/sound", 3000, SOON);
    // The source does not wait for the endpoint that hangs.
    site.await_settled(SOON);
    assert!(instance.metric("outhook_calls_deferred_total") > 2000.0);
    receiver.answer("/hangs", Answer::Status(204));
    harness::eventually("every message arrives", Duration::from_secs(60), || {
        let requests = receiver.requests("/hangs");
        let ids: std::collections::HashSet<_> = requests.iter().map(|request| &request.message_id).collect();
        (ids.len() == 3000).then_some(())
    });
    assert_eq!(receiver.requests("/sound").len(), 3000);
    assert_eq!(harness::Broker::get().read_all(&site.dead_letters).len(), 0);
}

#[test]
fn invalid_record_in_a_retry_topic_becomes_a_dead_letter() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    receiver.answer_first("/orders", [Answer::Status(500), Answer::Status(500)]);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let _instance = site.start();
    harness::Broker::get().produce(&format!("{}.200ms", site.retries), [("key", "nonsense")]);
    let letter = harness::eventually("the dead letter is written", SOON, || {
        harness::Broker::get().read_all(&site.dead_letters).into_iter().next()
    });
    assert_eq!(letter.value.as_deref(), Some(&b"nonsense"[..]));
    assert_eq!(letter.header("outhook-cause"), Some("invalid retry record: header outhook-offered is missing"));
    assert_eq!(letter.header("outhook-topic"), Some(&*format!("{}.200ms", site.retries)));
}

#[test]
fn retry_too_large_for_its_topic_is_dead_lettered_and_others_continue() {
    let broker = Broker::get();
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["300ms"]);
    // An open breaker would send calls to the overflow log instead.
    site.set("delivery.breaker_failures", 0);
    receiver.answer("/probes", Answer::Status(500));
    receiver.answer_first("/orders", vec![Answer::Status(500); 21]);
    let inserts_of = |table: &str| format!("EventType: table.recordInsert, ObjectName: {table}");
    let (probes, orders) = ([receiver.url("/probes")], [receiver.url("/orders")]);
    site.apply(&webhooks(&[
        ("probes", &probes, &[&inserts_of("probes")]),
        ("orders", &orders, &[&inserts_of("orders")]),
    ]));
    let _instance = site.start();
    let topic = format!("{}.200ms", site.retries);
    broker.configure_topic(&topic, &[("max.message.bytes", "20000")]);
    let too_large = |path: &str| {
        let letters = broker.read_all(&site.dead_letters).into_iter();
        let is_meant = |letter: &harness::Stored| {
            letter.header("outhook-class") == Some("too_large")
                && letter.header("outhook-url") == Some(&*receiver.url(path))
        };
        letters.filter(is_meant).collect::<Vec<_>>()
    };
    harness::eventually("the topic rejects a record that is too large", SOON, || {
        let (key, change) = large_order(100, 20_000);
        site.produce([(key, change.replace("\"orders\"", "\"probes\""))]);
        site.await_settled(SOON);
        too_large("/probes").pop()
    });
    // A batch of them is too large, too.
    site.produce((0..20).map(|number| large_order(number, 2_000)).chain([large_order(20, 20_000)]));

    let ids = |count| -> std::collections::HashSet<_> {
        receiver.wait("/orders", count, SOON).into_iter().map(|request| request.message_id).collect()
    };
    let before = ids(41);
    site.await_settled(SOON);
    let letters = too_large("/orders");
    let [letter] = letters.as_slice() else { panic!("one is too large: {letters:?}") };
    let headers = ["kind", "class", "attempts"].map(|name| letter.header(&format!("outhook-{name}")));
    assert_eq!(headers, [Some("call"), Some("too_large"), Some("1")]);
    let cause = letter.header("outhook-cause").unwrap();
    assert!(cause.starts_with(&format!("topic {topic} refuses a record of its size, ")), "{cause}");
    assert!(cause.ends_with("answered 500 Internal Server Error"), "{cause}");
    harness::eventually("the message log has the result", SOON, || {
        let entries = broker.read_all(&site.message_log);
        let ended = |entry: &harness::Stored| {
            let entry = String::from_utf8_lossy(entry.value.as_deref().unwrap_or_default()).into_owned();
            entry.contains(r#""status":"Exhausted""#) && entry.contains(r#""class":"too_large""#)
        };
        entries.iter().any(ended).then_some(())
    });

    broker.configure_topic(&topic, &[]);
    let redriven = site.run(&["dead-letters", "redrive", "--endpoint", &orders[0]]);
    assert_eq!(redriven.code, Some(0), "{}{}", redriven.stdout, redriven.stderr);
    assert_eq!(ids(42), before, "it is the same message");
}

#[test]
fn old_call_without_definition_is_dead_lettered_and_a_recent_one_waits() {
    let broker = Broker::get();
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.set("delivery.retry", vec!["1s"]);
    site.set("definitions.restored_within", "8s");
    receiver.answer_first("/orders", [Answer::Status(500)]);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    site.produce([order(1)]);
    receiver.wait("/orders", 2, SOON);
    let tier = format!("{}.1s", site.retries);
    let waited = broker.read_all(&tier).remove(0);
    // Records of a writer with more definitions than the topic has after a restore.
    let made = |call: &str, event: &str, offered_ms: &str| {
        let fields = [
            (waiting::CALL, call),
            (waiting::EVENT, event),
            (waiting::DEFINITIONS, "1000000"),
            (waiting::OFFERED_MS, offered_ms),
        ];
        waiting::with(&waited, &fields)
    };
    let lost = made("00000000-0000-8000-8000-000000000001", "zzzzzy", "1767225600000");
    let waiting = made("00000000-0000-8000-8000-000000000002", "zzzzzz", "4102444800000");
    broker.append(&tier, &[lost, waiting]);

    let letter = harness::eventually("the dead letter is written", SOON, || broker.read_all(&site.dead_letters).pop());
    let headers = ["kind", "class", "event"].map(|name| letter.header(&format!("outhook-{name}")));
    assert_eq!(headers, [Some("call"), Some("unknown_definition"), Some("zzzzzy")]);
    assert_eq!(letter.value, waited.value);
    let cause = letter.header("outhook-cause").unwrap();
    assert!(cause.contains("but ended at 1000000 when the call was stored; was the topic restored"), "{cause}");
    let waits = |times: usize| {
        let records = broker.read_all(&tier).into_iter().chain(broker.read_all(&format!("{}.200ms", site.retries)));
        (records.filter(|record| waiting::field(record, waiting::EVENT) == Some("zzzzzz")).count() >= times)
            .then_some(())
    };
    harness::eventually("the other call keeps waiting", SOON, || waits(3));
    assert_eq!(broker.read_all(&site.dead_letters).len(), 1);
    let cancelled = instance.metrics().get(r#"outhook_calls_total{outcome="cancelled"}"#).copied();
    assert_eq!(cancelled.unwrap_or_default(), 0.0);
}
