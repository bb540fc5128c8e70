use std::path::Path;
use std::time::Duration;

use super::*;
use crate::decode::{EventSourceRule, Format, SnapshotRows, TableNaming};
use crate::vocabulary::EventSource;

const SMALL: &str = r#"
[kafka]
brokers = "localhost:9092"

[[sources]]
topics = ["changes"]
format = "outhook"
"#;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, Error> {
    let overrides = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Config::parse(Path::new("outhook.toml"), text, overrides)
}

/// The only problem of a configuration, as people see it.
#[track_caller]
fn problem(text: &str, environment: &[(&str, &str)]) -> String {
    match parse(text, environment) {
        Err(Error::Invalid(problems)) if problems.len() == 1 => {
            let help = problems[0].help.as_ref().map(|help| format!("\nhelp: {help}"));
            format!("{}{}", problems[0], help.unwrap_or_default())
        }
        other => panic!("expected one problem: {other:?}"),
    }
}

/// The small configuration with more lines at its end, which belong to its only source.
fn small(more: &str) -> String {
    format!("{SMALL}{more}")
}

#[test]
fn the_smallest_configuration_is_brokers_and_a_source() {
    let config = parse(SMALL, &[]).unwrap();
    assert_eq!(config.kafka.brokers, "localhost:9092");
    assert_eq!(config.kafka.session_timeout(), Duration::from_secs(10));
    assert_eq!(config.sources[0].account, "default".into());
    assert_eq!(config.definitions.topic, "outhook.definitions");
    assert_eq!(config.source_of("changes"), Some(&config.sources[0]));
    assert_eq!(config.source_of("others"), None);
}

#[test]
fn a_source_has_all_that_decoding_needs() {
    let config = parse(
        &small(
            r#"
            [[sources]]
            name = "crm"
            topics_regex = 'cdc\.crm\..*'
            format = "debezium"
            account = "acme"
            event_source = { header = "origin" }
            table_name = "schema.table"
            snapshot = "insert"
            signal_table = "public.signals"
            "#,
        ),
        &[("OUTHOOK__MEMORY__BUDGET_MIB", "64")],
    )
    .unwrap();
    let crm = config.source_of("cdc.crm.leads").unwrap();
    let settings = crm.settings();
    assert_eq!(crm.to_string(), "crm");
    assert_eq!((settings.format, settings.snapshot), (Format::Debezium, SnapshotRows::Insert));
    assert_eq!(settings.event_source, Some(EventSourceRule::Header("origin".into())));
    assert_eq!((settings.table_name, settings.account), (TableNaming::SchemaTable, "acme".into()));
    assert_eq!(config.memory.budget_bytes(), 64 << 20);
}

#[test]
fn the_environment_goes_before_the_file_and_may_hold_everything() {
    let environment = [
        ("OUTHOOK__KAFKA__BROKERS", "a:1,b:2"),
        ("OUTHOOK__KAFKA__PROPERTIES__SASL_PASSWORD", "1e5"),
        ("OUTHOOK__DRAIN__DEADLINE", "3s"),
        ("OUTHOOK__SOURCES", r#"[{ topics = ["t"], format = "debezium", event_source = "datasheet" }]"#),
    ];
    for text in ["", SMALL, "[kafka]\nbrokers = 5\nproperties.sasl.password = \"old\""] {
        let config = parse(text, &environment).unwrap();
        assert_eq!(config.kafka.brokers, "a:1,b:2");
        assert_eq!(config.kafka.properties.get("sasl.password"), Some("1e5"), "taken as text, as it stands");
        assert_eq!(config.drain.deadline, Duration::from_secs(3));
        assert_eq!(config.sources[0].event_source, Some(EventSourceRule::Constant(EventSource::Datasheet)));
    }
}

#[test]
fn files_are_missed_only_when_they_are_needed() {
    let nowhere = || std::path::PathBuf::from("/nowhere/outhook.toml");
    let variable = |name: &str, value: &str| (name.into(), value.into());
    let environment = [
        variable("OUTHOOK__KAFKA__BROKERS", "a:1"),
        variable("OUTHOOK__SOURCES", r#"[{ topics = ["t"], format = "outhook" }]"#),
        variable("HOME", "/root"),
    ];
    assert!(Config::load(&File::Default(nowhere()), environment.clone()).is_ok());
    assert!(matches!(Config::load(&File::Default(nowhere()), []), Err(Error::Missing { .. })));
    let named = Config::load(&File::Named(nowhere()), environment).unwrap_err();
    assert_eq!(named.to_string(), "there is no configuration: /nowhere/outhook.toml does not exist");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_that_is_known() {
    assert_eq!(
        problem("[kafka]\nbrokrs = \"a:1\"", &[]),
        "outhook.toml:2:1: kafka.brokrs is not a key that Outhook knows\nhelp: did you mean brokers?"
    );
    assert_eq!(
        problem(&small("format_ = \"x\""), &[]),
        "outhook.toml:8:1: sources[0].format_ is not a key that Outhook knows\nhelp: did you mean format?"
    );
    let far = problem(SMALL, &[("OUTHOOK__DRAIN__HURRY", "1")]);
    assert_eq!(far, "OUTHOOK__DRAIN__HURRY: drain.hurry is not a key that Outhook knows\nhelp: known here: deadline");
}

#[test]
fn values_of_the_wrong_kind_name_their_key_and_place() {
    assert_eq!(
        problem("[kafka]\nbrokers = 9092", &[]),
        "outhook.toml:2:11: kafka.brokers: invalid type: integer `9092`, expected a string"
    );
    assert_eq!(
        problem(&small("snapshot = \"inserts\""), &[]),
        "outhook.toml:8:12: sources[0].snapshot can't be \"inserts\"\nhelp: did you mean insert?"
    );
    assert_eq!(
        problem(SMALL, &[("OUTHOOK__LISTEN__ADDRESS", "everywhere")]),
        "OUTHOOK__LISTEN__ADDRESS: listen.address: invalid socket address syntax"
    );
    for (key, value) in [("DRAIN__DEADLINE", "soon"), ("DRAIN__DEADLINE", "1d"), ("DEAD_LETTERS__RETENTION", "long")] {
        let error = problem(SMALL, &[(&format!("OUTHOOK__{key}"), value)]);
        assert!(error.ends_with(" is no duration\nhelp: write it as 500ms, 10s, 1m 30s or 2h"), "{error}");
    }
    for (value, found) in
        [("-1", "value: integer `-1`"), ("'many'", "type: string \"many\""), ("1.5", "type: floating point `1.5`")]
    {
        assert_eq!(
            problem(&format!("[kafka]\nmax_uncommitted = {value}"), &[]),
            format!(
                "outhook.toml:2:19: kafka.max_uncommitted: invalid {found}\nhelp: write it as a whole number, not less than 0"
            )
        );
    }
    let error = problem(&small("event_source = \"Spreadsheet\""), &[]);
    assert!(
        error.starts_with("outhook.toml:8:16: sources[0].event_source: \"Spreadsheet\" is no event source"),
        "{error}"
    );
    let error = problem("[[sources]]\ntopics = [\"a\"]", &[]);
    assert_eq!(error, "outhook.toml:1:1: sources[0] needs the key format");
    let error = problem("[[sources]]\nformat = \"outhook\"\ntopics_regex = '(?i)a'", &[]);
    assert!(error.starts_with("outhook.toml:3:16: sources[0].topics_regex: \"(?i)a\" has \"(?\""), "{error}");
}

#[test]
fn what_is_no_toml_names_line_and_column() {
    let error = problem("[kafka]\nbrokers = \n", &[]);
    assert!(error.starts_with("outhook.toml:2:11: this is no TOML: "), "{error}");
    assert_eq!(
        problem("kafka = 5", &[("OUTHOOK__KAFKA__BROKERS", "a:1")]),
        "OUTHOOK__KAFKA__BROKERS: kafka.brokers is set, but kafka is no section\nhelp: set the whole of kafka as one TOML value"
    );
}

#[test]
fn nothing_to_read_or_nowhere_to_read_from() {
    let error = problem("[[sources]]\ntopics = [\"a\"]\nformat = \"outhook\"", &[]);
    assert!(error.starts_with("kafka.brokers is not set\nhelp: set it to host:port"), "{error}");
    let config = Config::parse(Path::new("outhook.toml"), "[kafka]\nbrokers = \"a:1\"", Vec::new()).unwrap();
    assert!(config.require_sources().unwrap_err().to_string().starts_with("no sources are configured"));
    assert_eq!(config.only_account(), Some("default".into()));
    let error = problem(&small("[[sources]]\nformat = \"outhook\""), &[]);
    assert!(error.starts_with("outhook.toml:8:1: sources[1] names no topics"), "{error}");
}

#[test]
fn contradictions_show_both_values() {
    let cases = [
        ("topics_regex = 'c.*'", "sources[0] has both topics = [\"changes\"] and topics_regex = \"c.*\""),
        (
            "[[sources]]\ntopics = [\"changes\"]\nformat = \"debezium\"",
            "outhook.toml:9:1: the topic \"changes\" is in sources[1].topics and already in sources[0].topics",
        ),
        (
            "[[sources]]\ntopics_regex = 'chan.*'\nformat = \"debezium\"",
            "outhook.toml:6:1: the topic \"changes\" is in sources[0].topics and matches sources[1].topics_regex, \"chan.*\"",
        ),
        (
            "[[sources]]\ntopics_regex = 'outhook\\.def.*s'\nformat = \"debezium\"\n[dead_letters]\ntopic = \"dead\"",
            "outhook.toml:8:1: sources[1] reads /outhook\\.def.*s/, and with it definitions.topic, \"outhook.definitions\"",
        ),
        (
            "[dead_letters]\ntopic = \"outhook.definitions\"",
            "outhook.toml:9:1: dead_letters.topic and definitions.topic are both \"outhook.definitions\"",
        ),
        (
            "[stats]\ntopic = \"outhook.dead-letters\"",
            "outhook.toml:9:1: stats.topic and dead_letters.topic are both \"outhook.dead-letters\"",
        ),
        (
            "[[sources]]\ntopics_regex = 'outhook\\.s.*'\nformat = \"debezium\"",
            "sources[1] reads /outhook\\.s.*/, and with it stats.topic, \"outhook.stats\"",
        ),
        ("[stats]\nreplication_factor = 0", "outhook.toml:9:1: stats.replication_factor is 0"),
        ("[drain]\ndeadline = \"5m\"", "outhook.toml:9:1: drain.deadline is 300s, but max.poll.interval.ms is 300s"),
        ("snapshot = \"insert\"", "sources[0].snapshot is set, but sources[0].format is \"outhook\""),
        (
            "[delivery]\nconnect_timeout = \"40s\"",
            "outhook.toml:9:1: delivery.connect_timeout is 40s and delivery.timeout 20s",
        ),
        (
            "[render]\nattachment_url = \"https://x/{row}\"",
            "outhook.toml:9:1: render.attachment_url: \"https://x/{row}\"",
        ),
        ("[memory]\nbudget_mib = 0", "outhook.toml:9:1: memory.budget_mib is 0"),
        ("[dead_letters]\npartitions = 0", "outhook.toml:9:1: dead_letters.partitions is 0"),
        ("[definitions]\nreplication_factor = 0", "outhook.toml:9:1: definitions.replication_factor is 0"),
        ("[definitions]\ntopic = \"out hook\"", "outhook.toml:9:1: definitions.topic has \"out hook\""),
    ];
    for (more, expected) in cases {
        let error = problem(&small(more), &[]);
        assert!(error.contains(expected), "{more}\ngave {error}\nnot  {expected}");
    }
}

#[test]
fn contradictions_in_kafka_show_both_values() {
    let cases = [
        ("GROUP_PROTOCOL", "consumer", "kafka.session_timeout is 45s, but with kafka.group_protocol = \"consumer\""),
        (
            "PROPERTIES__MAX_POLL_INTERVAL_MS",
            "30000",
            "kafka.session_timeout is 45s, longer than max.poll.interval.ms, 30s",
        ),
        (
            "PROPERTIES__GROUP_ID",
            "mine",
            "OUTHOOK__KAFKA__PROPERTIES__GROUP_ID: kafka.properties sets group.id = \"mine\", while kafka.group is \"outhook\"",
        ),
        (
            "PROPERTIES__ENABLE_AUTO_COMMIT",
            "true",
            "kafka.properties sets enable.auto.commit = \"true\", but Outhook sets \"false\": offsets are committed only",
        ),
        ("PROPERTIES__FETCH_MIN_BITES", "1", "librdkafka knows no setting fetch.min.bites"),
        ("PROPERTIES__FETCH_MIN_BYTES", "many", "librdkafka refuses kafka.properties.fetch.min.bytes = \"many\": "),
    ];
    let text = SMALL.replace("[kafka]", "[kafka]\nsession_timeout = \"45s\"");
    for (key, value, expected) in cases {
        let error = problem(&text, &[(&format!("OUTHOOK__KAFKA__{key}"), value)]);
        assert!(error.contains(expected), "gave {error}\nnot  {expected}");
    }
}

#[test]
fn all_contradictions_come_at_once() {
    let error =
        parse("[kafka]\nmax_uncommitted = 0\n[dead_letters]\npartitions = 0\n[drain]\ndeadline = \"1h\"\n[memory]\nmax_open_records = 0", &[])
            .unwrap_err()
            .to_string();
    assert_eq!(error.lines().count(), 5, "{error}");
}

#[test]
fn secrets_are_in_no_text() {
    let text = SMALL.replace(
        "[kafka]",
        "[kafka]\nproperties = { \"sasl.password\" = \"hunter2\", ssl.key.password = \"hunter2\", \"linger.ms\" = 5 }",
    );
    let config = parse(&text, &[]).unwrap();
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2") && debug.contains("\"linger.ms\": \"5\""), "{debug}");
    let settings = config.kafka.client();
    assert_eq!((settings["sasl.password"].as_str(), settings["ssl.key.password"].as_str()), ("hunter2", "hunter2"));
    for value in [
        "\"sasl.pasword\" = \"hunter2\"",
        "\"ssl.keystore.passwort\" = \"hunter2\"",
        "\"sasl.password\" = [\"hunter2\"]",
        "\"sasl.password\" = \"hunter2",
    ] {
        let error = problem(&SMALL.replace("[kafka]", &format!("[kafka.properties]\n{value}\n[kafka]")), &[]);
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_password_in_the_wrong_place_is_not_shown() {
    for (variable, value) in [
        ("OUTHOOK__KAFKA__PROPERTIES", "sasl.password=hunter2"),
        ("OUTHOOK__KAFKA__PROPERTIES", "{ 'sasl.password' = 'hunter2' "),
        ("OUTHOOK__KAFKA", "brokers='x',properties={sasl.password=hunter2}"),
    ] {
        let error = problem(SMALL, &[(variable, value)]);
        assert!(error.contains("is no section of settings") && !error.contains("hunter2"), "{error}");
    }
    let file = File::Default("/nowhere/outhook.toml".into());
    let not_text = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let environment = [("OUTHOOK__KAFKA__GROUP".into(), not_text)];
    assert!(Config::load(&file, environment).unwrap_err().to_string().contains("is not UTF-8"));
}

#[test]
fn the_consumer_has_what_outhook_needs_and_what_the_user_chose() {
    let properties = [("OUTHOOK__KAFKA__PROPERTIES__AUTO_OFFSET_RESET", "latest")];
    let config = parse(SMALL, &properties).unwrap();
    let settings = config.kafka.consumer(&config.memory);
    assert_eq!(settings["auto.offset.reset"], "latest");
    assert_eq!(
        (settings["session.timeout.ms"].as_str(), settings["heartbeat.interval.ms"].as_str()),
        ("10000", "3333")
    );
    assert_eq!(settings["partition.assignment.strategy"], "cooperative-sticky");
    assert_eq!(settings["queued.max.messages.kbytes"], "8192");
    assert_eq!(settings["fetch.wait.max.ms"], "100");
    assert_eq!(config.kafka.client()["socket.timeout.ms"], "20000");
    let longer = [
        ("OUTHOOK__KAFKA__PROPERTIES__FETCH_WAIT_MAX_MS", "500"),
        ("OUTHOOK__KAFKA__PROPERTIES__SOCKET_TIMEOUT_MS", "30000"),
    ];
    let patient = parse(SMALL, &longer).unwrap();
    let settings = patient.kafka.consumer(&patient.memory);
    assert_eq!((&*settings["fetch.wait.max.ms"], &*settings["socket.timeout.ms"]), ("500", "30000"));

    let config = parse(SMALL, &[("OUTHOOK__KAFKA__GROUP_PROTOCOL", "consumer")]).unwrap();
    let settings = config.kafka.consumer(&config.memory);
    assert!(!settings.contains_key("session.timeout.ms") && !settings.contains_key("partition.assignment.strategy"));
}
