//! Broken records, templates, definitions and configurations: each error names the place and the fix, and none stops
//! the program.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use harness::{Broker, Ended, Receiver, SECRET, Site, Stored, inserted_orders, order};

use crate::{OUTHOOK, SOON};

/// The complete output of a command.
fn said(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}

#[test]
fn broken_records_are_dead_lettered_with_the_reason_and_others_delivered() {
    let records: [(&[u8], &str); 12] = [
        (b"{\"table\":", "line 1 column 9"),
        (b"\xff\xfe", "it is not UTF-8 from byte 0 on"),
        (b"[1, 2]", "expected an object with `table`, `operation`, `before` and `after`"),
        (b"", "it is empty: write a JSON object"),
        (b"\0\0\0\0\x07\x02a", "a Schema Registry's wire format (byte 0, then schema id 7)"),
        (br#"{"operation":"insert","after":{}}"#, "`table` is missing: it must be the table's name"),
        (br#"{"table":"orders","after":{}}"#, "`operation` is missing: it must be insert, update or delete"),
        (br#"{"table":"orders","operation":"upsert","after":{}}"#, r#"`operation` is "upsert""#),
        (br#"{"table":"orders","operation":"insert"}"#, "`after` is missing: an insert needs the new row"),
        (
            br#"{"table":"orders","operation":"delete","after":{}}"#,
            "`before` is missing: a delete needs the deleted row",
        ),
        (br#"{"table":"orders","operation":"insert","after":{},"time":"today"}"#, "RFC 3339"),
        (br#"{"op":"c","source":{"table":"orders"},"after":{"id":1}}"#, "the value looks like a Debezium record"),
    ];
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    for (record, _) in records {
        Broker::get().produce_raw(&site.changes, Some(b"key"), Some(record));
    }
    site.produce([order(1)]);

    receiver.wait("/orders", 1, SOON);
    site.await_settled(SOON);
    let letters = Broker::get().read_all(&site.dead_letters);
    assert_eq!(letters.len(), records.len());
    for (offset, (record, reason)) in records.into_iter().enumerate() {
        let letter =
            letters.iter().find(|letter| letter.value.as_deref() == Some(record)).expect("the record is stored");
        let headers = format!(
            "{:?}",
            letter.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; ")
        );
        let reason = reason.replace('"', "\\\"");
        assert!(headers.contains(&reason), "{reason} is not in {headers}");
        assert!(
            headers.contains(&format!(": {offset};")) || headers.contains(&format!(": {offset}\"")),
            "{offset}: {headers}"
        );
    }
    assert_eq!(instance.metric("outhook_decode_failures_total"), records.len() as f64);
    assert!(instance.is_ready());
}

#[test]
fn microsecond_timestamp_gives_the_right_event_date_and_is_counted() {
    let (site, receiver, broker) = (Site::new(OUTHOOK, 1), Receiver::start(), Broker::get());
    // By default Kafka 4 rejects timestamps more than an hour in the future.
    broker.configure_topic(&site.changes, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    let (key, value) = order(1);
    let record = Stored {
        partition: 0,
        offset: 0,
        timestamp_ms: 1_709_212_455_123_456,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: Vec::new(),
    };
    broker.append(&site.changes, &[record]);
    site.produce([order(2)]);

    let requests = receiver.wait("/orders", 2, SOON);
    let date = |id: &str| {
        let request = requests.iter().find(|request| String::from_utf8_lossy(&request.body).contains(id));
        request.expect("each order is sent once").headers["outhook-event-date"].to_str().unwrap().to_owned()
    };
    assert_eq!(date(r#""id":1,"#), "2024-02-29T13:14:15.123456Z");
    assert!(date(r#""id":2,"#) > date(r#""id":1,"#));
    assert_eq!(instance.metric("outhook_implausible_timestamps_total"), 1.0);
}

#[test]
fn broken_definitions_are_rejected_with_field_value_and_fix() {
    let base = "EventType: table.recordInsert, ObjectName: orders";
    let events = [
        ("CustomPayloadTemplate: \"{'id': '[@field:id]'\"", "line 1, column 21: expected a comma or }"),
        ("CustomPayloadTemplate: \"{'id': '[@field:id]',}\"", "something after the comma"),
        ("CustomPayloadTemplate: \"{'id': '[@out-hook:nonsense]'}\"", "nonsense"),
        ("CustomPayloadTemplate: \"{'id' 1}\"", "a colon after the key"),
        ("CustomPayloadTemplate: \"{}\", CustomPayloadFields: [id]", "exclude each other"),
        ("EventSources: [Cron]", r#""Cron" is not an event source"#),
        ("ObjectFields: [total]", "ObjectFields is only for table.recordUpdate"),
        ("CustomPayloadFields: [id, id]", r#"CustomPayloadFields has "id" twice"#),
        ("Unknown: 1", "Unknown"),
    ];
    let event = |more: &str| format!("{{ {base}, {more} }}");
    let webhook = |url: &str, more: &str, event: &str| {
        format!("Webhooks:\n  - {{Account: acme, Name: bad, OutgoingUrls: [{url:?}], {more} Events: [{event}]}}\n")
    };
    let (url, plain) = ("https://example.com/", format!("{{ {base} }}"));
    let mut files: Vec<(String, &str)> =
        events.iter().map(|(more, expected)| (webhook(url, "", &event(more)), *expected)).collect();
    files.extend([
        (
            webhook(url, "", "{ EventType: table.recordUpsert, ObjectName: orders }"),
            r#"EventType "table.recordUpsert" is unknown"#,
        ),
        (webhook("ftp://example.com/", "", &plain), "it must start with https://"),
        (webhook("https://user:pw@example.com/", "", &plain), "would appear in logs"),
        (webhook(url, "Secret: hunter2,", &plain), "a secret is whsec_ followed by"),
        (webhook(url, "CallThrottling: 0,", &plain), "CallThrottling is 0"),
        ("Webhooks:\n  - Name: [\n".to_owned(), "line "),
    ]);
    let site = Site::new(OUTHOOK, 1);
    for (text, expected) in files {
        let file = site.file("yaml", &text).display().to_string();
        let refused = site.run(&["apply", "-f", &file]);
        let said = said(&refused);
        assert!(refused.code.is_some_and(|code| code != 0), "accepted: {text}\n{said}");
        assert!(said.contains(expected), "{expected:?} is missing for\n{text}\nin:\n{said}");
        assert!(!said.contains("hunter2"), "a secret is never printed: {said}");
    }
    assert_eq!(Broker::get().read_all(&site.definitions).len(), 0, "nothing of a rejected file is written");
}

#[test]
fn broken_configurations_are_refused_before_anything_starts() {
    type Change = fn(&mut Site);
    let changes: [(Change, &str); 12] = [
        (|site| site.set("kafka.groop", "x"), "did you mean group?"),
        (|site| site.set("delivery.timeout", "soon"), "delivery.timeout"),
        (|site| site.set("kafka.brokers", ""), "kafka.brokers is not set"),
        (|site| site.set("sources", Vec::<toml::Value>::new()), "no sources are configured"),
        (|site| site.set("drain.deadline", "10m"), "drain.deadline is 600s, but max.poll.interval.ms is 300s"),
        (|site| site.set("dead_letters.topic", site.definitions.clone()), "each needs a separate topic"),
        (|site| site.set("definitions.topic", site.changes.clone()), "which Outhook writes itself"),
        (|site| site.set("delivery.connect_timeout", "40s"), "delivery.connect_timeout is 40s"),
        (
            |site| {
                site.set("kafka.properties", toml::Table::from_iter([("enable.auto.commit".to_owned(), "true".into())]))
            },
            "offsets are committed only after their records are settled",
        ),
        (
            |site| {
                site.set("kafka.properties", toml::Table::from_iter([("max.poll.interval.ms".to_owned(), 5000.into())]))
            },
            "kafka.session_timeout is 10s, longer than max.poll.interval.ms, 5s",
        ),
        (
            |site| site.set("kafka.properties", toml::Table::from_iter([("fetch.max.bytes".to_owned(), 1000.into())])),
            "with fetch.max.bytes = \"1000\"",
        ),
        (|site| site.set("delivery.ca_file", "/nowhere/ca.pem"), "delivery.ca_file is \"/nowhere/ca.pem\""),
    ];
    for (change, expected) in changes {
        let mut site = Site::new(OUTHOOK, 1);
        change(&mut site);
        for command in [&["run"][..], &["check"], &["check", "--offline"]] {
            let refused = site.run(command);
            let said = said(&refused);
            assert!(refused.code.is_some_and(|code| code != 0), "{command:?} succeeds, instead of: {expected}\n{said}");
            assert!(said.contains(expected), "{command:?}: {expected:?} is missing in:\n{said}");
        }
    }
}

#[test]
fn check_names_broken_definition_records_and_others_stay_active() {
    let webhook = format!(
        r#"{{"v":1,"id":"abcdef","account":"acme","name":"x","urls":["https://x.example/"],"secret":"{SECRET}"}}"#
    );
    let records: [(&[u8], &[u8], &str); 6] = [
        (b"nonsense", b"{}", "its key is not text of the form kind/id"),
        (b"webhook/TOOLONG", b"{}", "an id has 6 characters"),
        (b"webhook/aaaaaa", b"{", "its value is not a valid definition"),
        (b"webhook/bbbbbb", b"{\"id\":\"bbbbbb\"}", "its value has no version"),
        (b"webhook/cccccc", b"{\"v\":99}", "its version is 99"),
        (b"event/dddddd", webhook.as_bytes(), "missing field"),
    ];
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    for (key, value, _) in records {
        Broker::get().produce_raw(&site.definitions, Some(key), Some(value));
    }
    harness::eventually("the bad records are counted", SOON, || {
        (instance.metric("outhook_definitions_bad") == records.len() as f64).then_some(())
    });
    site.produce([order(1)]);
    receiver.wait("/orders", 1, SOON);
    assert!(instance.is_ready());
    let check = site.run(&["check"]);
    let said = said(&check);
    for (key, _, reason) in records {
        let key = String::from_utf8_lossy(key);
        assert!(
            said.lines().any(|line| line.contains(&*key) && line.contains(reason)),
            "{key}: {reason}\nnot in:\n{said}"
        );
    }
    assert_ne!(check.code, Some(0), "a check that finds something wrong fails");
}

#[test]
fn check_names_an_unreachable_broker_with_the_reason() {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("kafka.brokers", "127.0.0.1:1");
    let check = site.run(&["check"]);
    assert_eq!(check.code, Some(1), "{}{}", check.stdout, check.stderr);
    assert!(check.stderr.contains("kafka.brokers = \"127.0.0.1:1\""), "{}", check.stderr);
    assert!(check.stderr.contains("Connection refused"), "{}", check.stderr);
}

#[test]
fn waiting_commands_say_what_they_wait_for_only_on_standard_error() {
    // Accepts connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut site = Site::new(OUTHOOK, 1);
    site.set("kafka.brokers", address.as_str());
    let (config, webhooks) = (site.configuration(), site.file("yaml", "Webhooks: []"));
    let apply = ["apply", "-f", &webhooks.display().to_string()];
    for command in [apply.as_slice(), &["topics", "create"], &["clients", "create", "--name", "me"]] {
        let mut waiting = Command::new(OUTHOOK);
        waiting.args(command).arg("--config").arg(&config).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut waiting = waiting.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut first).unwrap();
        let runs = waiting.try_wait().unwrap().is_none();
        waiting.kill().unwrap();
        let stdout = waiting.wait_with_output().unwrap().stdout;
        assert!(first.starts_with(&format!("waiting for Kafka at {address} to ")), "{command:?}: {first}");
        assert!(runs && stdout.is_empty(), "{command:?}: {}", String::from_utf8_lossy(&stdout));
    }
}

#[test]
fn check_suggests_the_security_protocol_if_a_broker_hangs_up() {
    // Closes the connection, as a TLS port does with a plaintext client.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    thread::spawn(move || port.incoming().for_each(drop));
    let mut site = Site::new(OUTHOOK, 1);
    site.set("kafka.brokers", address.as_str());
    let check = site.run(&["check"]);
    assert_eq!(check.code, Some(1), "{}{}", check.stdout, check.stderr);
    assert!(
        check.stderr.contains(&address) && check.stderr.contains("is security.protocol in [kafka.properties]"),
        "{}",
        check.stderr
    );
    assert!(!check.stderr.contains("brokers are down"), "{}", check.stderr);
}

#[test]
fn commands_fail_immediately_if_a_broker_refuses_the_password() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in port.incoming().flatten() {
            thread::spawn(move || refuse_passwords(connection));
        }
    });
    let mut site = Site::new(OUTHOOK, 1);
    site.set("kafka.brokers", address.as_str());
    let properties = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "outhook"),
        ("sasl.password", "hunter2"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.into()));
    site.set("kafka.properties", toml::Table::from_iter(properties));
    for command in [&["check"][..], &["topics", "check"], &["get"], &["dead-letters", "list"]] {
        let refused = site.run(command);
        assert_eq!(refused.code, Some(1), "{command:?}: {}", said(&refused));
        for told in [address.as_str(), "a broker refuses this client: ", "wrong password", "sasl.password"] {
            assert!(refused.stderr.contains(told), "{command:?} does not print {told}: {}", refused.stderr);
        }
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
}

/// Plays a broker's SASL/PLAIN login (KIP-152), and rejects the password.
fn refuse_passwords(mut connection: TcpStream) {
    let mut size = [0; 4];
    while connection.read_exact(&mut size).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(size) as usize];
        if connection.read_exact(&mut request).is_err() {
            return;
        }
        let body: &[u8] = match request[1] {
            // ApiVersions 3: no error, four APIs with their versions, no throttling.
            18 => b"\0\0\x05\0\x03\0\0\0\x01\0\0\x11\0\0\0\x01\0\0\x12\0\0\0\x03\0\0\x24\0\0\0\0\0\0\0\0\0\0",
            // SaslHandshake 1: no error, one mechanism.
            17 => b"\0\0\0\0\0\x01\0\x05PLAIN",
            // SaslAuthenticate 0: the error 58, its text, no bytes.
            _ => b"\0\x3a\0\x0ewrong password\0\0\0\0",
        };
        let answer = [&(body.len() as u32 + 4).to_be_bytes(), &request[4..8], body].concat();
        if connection.write_all(&answer).is_err() {
            return;
        }
    }
}

#[test]
fn check_warns_of_a_second_group_on_the_call_topics() {
    let mut site = Site::new(OUTHOOK, 1);
    site.apply(&inserted_orders("shipping", &["https://a.example/".to_owned()]));
    let instance = site.start();
    let alone = site.run(&["check"]);
    assert!(!alone.stdout.contains("so both send each waiting call"), "{}", alone.stdout);
    site.set("kafka.group", "another-installation");
    let check = site.run(&["check"]);
    assert!(
        check.stdout.contains("-retries reads ") && check.stdout.contains("so both send each waiting call"),
        "{}",
        said(&check)
    );
    assert!(instance.is_ready());
}
