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

/// The only problem of a configuration, as it is shown.
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

/// The small configuration with more lines at its end. They belong to its only source.
fn small(more: &str) -> String {
    format!("{SMALL}{more}")
}

#[test]
fn minimal_configuration_is_brokers_and_a_source() {
    let config = parse(SMALL, &[]).unwrap();
    assert_eq!(config.kafka.brokers, "localhost:9092");
    assert_eq!(config.kafka.session_timeout(), Duration::from_secs(10));
    assert_eq!(config.sources[0].account, "default".into());
    assert_eq!(config.definitions.topic, "outhook.definitions");
    assert_eq!(config.source_of("changes"), Some(&config.sources[0]));
    assert_eq!(config.source_of("others"), None);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(parse(&format!("\u{feff}{SMALL}"), &[]).unwrap().kafka.brokers, "localhost:9092");
}

#[test]
fn source_section_holds_all_decode_settings() {
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
    assert_eq!((settings.format, settings.snapshot_rows), (Format::Debezium, SnapshotRows::Insert));
    assert_eq!(settings.event_source, Some(EventSourceRule::Header("origin".into())));
    assert_eq!((settings.table_naming, settings.account), (TableNaming::SchemaTable, "acme".into()));
    assert_eq!(config.memory.budget_bytes(), 64 << 20);
}

#[test]
fn environment_overrides_the_file_and_can_replace_it() {
    let environment = [
        ("OUTHOOK__KAFKA__BROKERS", "a:1,b:2"),
        ("OUTHOOK__KAFKA__PROPERTIES__SASL_PASSWORD", "1e5"),
        ("OUTHOOK__DRAIN__DEADLINE", "3s"),
        ("OUTHOOK__SOURCES", r#"[{ topics = ["t"], format = "debezium", event_source = "datasheet" }]"#),
    ];
    for text in ["", SMALL, "[kafka]\nbrokers = 5\nproperties.sasl.password = \"old\""] {
        let config = parse(text, &environment).unwrap();
        assert_eq!(config.kafka.brokers, "a:1,b:2");
        assert_eq!(config.kafka.properties.get("sasl.password"), Some("1e5"), "taken as text, unchanged");
        assert_eq!(config.drain.deadline, Duration::from_secs(3));
        assert_eq!(config.sources[0].event_source, Some(EventSourceRule::Constant(EventSource::Datasheet)));
    }
}

#[test]
fn missing_configuration_file_is_an_error_if_named_or_needed() {
    let nowhere = || std::path::PathBuf::from("/nowhere/outhook.toml");
    let variable = |name: &str, value: &str| (name.into(), value.into());
    let environment = [
        variable("OUTHOOK__KAFKA__BROKERS", "a:1"),
        variable("OUTHOOK__SOURCES", r#"[{ topics = ["t"], format = "outhook" }]"#),
        variable("HOME", "/root"),
    ];
    assert!(Config::load(&ConfigFile::Default(nowhere()), environment.clone()).is_ok());
    assert!(matches!(Config::load(&ConfigFile::Default(nowhere()), []), Err(Error::Missing { .. })));
    let named = Config::load(&ConfigFile::Named(nowhere()), environment).unwrap_err();
    assert_eq!(named.to_string(), "there is no configuration: /nowhere/outhook.toml does not exist");
}

#[test]
fn unknown_keys_are_rejected_with_the_nearest_known_key() {
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
fn invalid_values_are_rejected_with_key_and_position() {
    assert_eq!(
        problem("[kafka]\nbrokers = 9092", &[]),
        "outhook.toml:2:11: kafka.brokers is 9092, but must be a text\nhelp: put it in quotes"
    );
    assert_eq!(
        problem(&small("snapshot = \"inserts\""), &[]),
        "outhook.toml:8:12: sources[0].snapshot can't be \"inserts\"\nhelp: did you mean insert?"
    );
    assert_eq!(
        problem(SMALL, &[("OUTHOOK__LISTEN__ADDRESS", "everywhere")]),
        "OUTHOOK__LISTEN__ADDRESS: listen.address is \"everywhere\", but must be an address with its port\n\
         help: write it as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"
    );
    let error = problem(&small("event_source = \"Spreadsheet\""), &[]);
    assert!(
        error.starts_with("outhook.toml:8:16: sources[0].event_source: \"Spreadsheet\" is not an event source"),
        "{error}"
    );
    let error = problem("[[sources]]\ntopics = [\"a\"]", &[]);
    assert!(error.starts_with("outhook.toml:1:1: sources[0] needs the key format\nhelp: add format = "), "{error}");
    let error = problem("[[sources]]\nformat = \"outhook\"\ntopics_regex = '(?i)a'", &[]);
    assert!(error.starts_with("outhook.toml:3:16: sources[0].topics_regex: \"(?i)a\" has \"(?\""), "{error}");
}

/// The key, a value in a file, the text that shows it, the kind that it must be, and a part of the help.
const OF_THE_WRONG_KIND: [(&str, &str, &str, &str, &str); 19] = [
    ("drain.deadline", "30", "30", "a duration", "10s"),
    ("drain.deadline", "\"30\"", "\"30\"", "a duration", "10s"),
    ("drain.deadline", "\"soon\"", "\"soon\"", "a duration", "10s"),
    ("drain.deadline", "\"1d\"", "\"1d\"", "a duration", "10s"),
    ("drain.deadline", "true", "true", "a duration", "10s"),
    ("kafka.session_timeout", "10", "10", "a duration", "10s"),
    ("delivery.retry", "[30]", "30", "a duration", "10s"),
    ("retries.tiers", "[\"1s\", \"x\"]", "\"x\"", "a duration", "10s"),
    ("dead_letters.retention", "\"long\"", "\"long\"", "a duration", "30d"),
    ("message_log.retention", "7", "7", "a duration", "30d"),
    ("listen.address", "\"localhost\"", "\"localhost\"", "an address with its port", "127.0.0.1:8080"),
    ("listen.address", "8080", "8080", "an address with its port", "127.0.0.1:8080"),
    ("delivery.allow_addresses", "[\"10.0.0.0/33\"]", "\"10.0.0.0/33\"", "a network", "10.1.0.0/16"),
    ("delivery.allow_http", "\"yes\"", "\"yes\"", "a yes or no", "true or false"),
    ("delivery.allow_http", "1", "1", "a yes or no", "true or false"),
    ("kafka.group", "123", "123", "a text", "quotes"),
    ("kafka.group", "[\"a\"]", "a list", "a text", "quotes"),
    ("definitions.max_account_writes", "0", "0", "a whole number", "not less than 1"),
    ("memory.budget_mib", "99999999999999999999", "99999999999999999999", "a whole number", "not less than 0"),
];

#[test]
fn wrong_type_errors_name_key_value_position_and_fix() {
    for (key, value, shown, kind, help) in OF_THE_WRONG_KIND {
        let (section, name) = key.split_once('.').unwrap();
        let error = problem(&format!("[{section}]\n{name} = {value}"), &[]);
        let column = name.len() + 4 + value.find(shown).unwrap_or(0);
        // The key of a list item has its index.
        let told = error.replacen("[0]", "", 1).replacen("[1]", "", 1);
        let expected = format!("outhook.toml:2:{column}: {key} is {shown}, but must be {kind}\nhelp: ");
        assert!(told.starts_with(&expected), "{value}\ngave {error}\nnot  {expected}");
        assert!(error.contains(help), "{error}");
    }
    for value in ["-1", "\"many\"", "1.5"] {
        assert_eq!(
            problem(&format!("[kafka]\nmax_uncommitted = {value}"), &[]),
            format!(
                "outhook.toml:2:19: kafka.max_uncommitted is {value}, but must be a whole number\nhelp: write it as a whole \
                 number, not less than 0"
            )
        );
    }
}

#[test]
fn errors_name_the_environment_variable() {
    for (variable, value, expected) in [
        ("DRAIN__DEADLINE", "30", "drain.deadline is \"30\", but must be a duration"),
        ("DELIVERY__ALLOW_HTTP", "yes", "delivery.allow_http is \"yes\", but must be a yes or no"),
        ("MEMORY__BUDGET_MIB", "1.5", "memory.budget_mib is \"1.5\", but must be a whole number"),
        ("MEMORY__BUDGET_MIB", "", "memory.budget_mib is \"\", but must be a whole number"),
        ("LISTEN__ADDRESS", "8080", "listen.address is \"8080\", but must be an address with its port"),
        ("KAFKA__GROUP", "[1]", "kafka.group is a list, but must be a text"),
        (
            "DELIVERY__ALLOW_ADDRESSES",
            "10.0.0.0/33",
            "delivery.allow_addresses is \"10.0.0.0/33\", but must be a network",
        ),
    ] {
        let variable = format!("OUTHOOK__{variable}");
        let error = problem(SMALL, &[(&variable, value)]);
        assert!(error.starts_with(&format!("{variable}: {expected}\nhelp: ")), "{error}");
    }
}

#[test]
fn environment_values_are_parsed_as_the_type_of_their_key() {
    let environment = [
        ("OUTHOOK__KAFKA__GROUP", "123"),
        ("OUTHOOK__KAFKA__CLIENT_ID", "true"),
        ("OUTHOOK__KAFKA__INSTANCE_ID", "2024-01-01"),
        ("OUTHOOK__STATS__TOPIC", "\"in-quotes\""),
        ("OUTHOOK__MEMORY__BUDGET_MIB", "64"),
        ("OUTHOOK__STATS__REPLICATION_FACTOR", "3"),
        ("OUTHOOK__DELIVERY__ALLOW_HTTP", "true"),
        ("OUTHOOK__DELIVERY__RETRY", "5s"),
        ("OUTHOOK__DELIVERY__ALLOW_ADDRESSES", "10.0.0.0/8"),
        ("OUTHOOK__DELIVERY__NO_PROXY", "[\"a.example\", \"b.example\"]"),
        ("OUTHOOK__DELIVERY__CA_FILE", "/ca.pem"),
        ("OUTHOOK__API__TOKEN_KEY", "12345678901234567890123456789012"),
    ];
    let config = parse(SMALL, &environment).unwrap();
    let Kafka { group, client_id, instance_id, .. } = &config.kafka;
    assert_eq!((group.as_str(), client_id.as_str(), instance_id.as_deref()), ("123", "true", Some("2024-01-01")));
    assert_eq!((config.stats.topic.as_str(), config.stats.replication_factor), ("in-quotes", Some(3)));
    assert_eq!((config.memory.budget_mib, config.delivery.allow_http), (64, true));
    assert_eq!((config.delivery.retry.len(), config.delivery.allow_addresses.len()), (1, 1));
    assert_eq!((config.delivery.no_proxy.len(), config.delivery.ca_file), (2, Some("/ca.pem".into())));
    assert!(config.api.token_key.is_some());
    let of_file = parse(&SMALL.replace("[\"changes\"]", "\"changes\""), &[]).unwrap();
    assert_eq!(of_file.sources[0].topics, ["changes"], "one text is a list of one");
}

#[test]
fn invalid_toml_errors_name_line_and_column() {
    let error = problem("[kafka]\nbrokers = \n", &[]);
    assert!(error.starts_with("outhook.toml:2:11: invalid TOML: "), "{error}");
    assert_eq!(
        problem("kafka = 5", &[("OUTHOOK__KAFKA__BROKERS", "a:1")]),
        "OUTHOOK__KAFKA__BROKERS: kafka.brokers is set, but kafka is not a section\nhelp: set all of kafka as one TOML value"
    );
}

#[test]
fn missing_brokers_sources_or_topics_are_rejected() {
    let error = problem("[[sources]]\ntopics = [\"a\"]\nformat = \"outhook\"", &[]);
    assert!(error.starts_with("kafka.brokers is not set\nhelp: set it to host:port"), "{error}");
    let config = Config::parse(Path::new("outhook.toml"), "[kafka]\nbrokers = \"a:1\"", Vec::new()).unwrap();
    assert!(config.require_sources().unwrap_err().to_string().starts_with("no sources are configured"));
    assert_eq!(config.only_account(), Some("default".into()));
    let error = problem(&small("[[sources]]\nformat = \"outhook\""), &[]);
    assert!(error.starts_with("outhook.toml:8:1: sources[1] names no topics"), "{error}");
}

#[test]
fn prefix_applies_to_topics_and_group_without_an_explicit_name() {
    let config = parse(&small("[topics]\nprefix = \"second\"\n[stats]\ntopic = \"outhook.mine\""), &[]).unwrap();
    assert_eq!(config.kafka.group, "second");
    let own: Vec<String> = contradictions::own_topics(&config).into_iter().map(|(_, topic)| topic).collect();
    assert!(own.iter().all(|topic| topic.starts_with("second.") || topic == "outhook.mine"), "{own:?}");
    assert!(own.contains(&"outhook.mine".to_owned()) && own.contains(&"second.retry.5m".to_owned()), "{own:?}");
    let of_variables = [("OUTHOOK__TOPICS__PREFIX", "second"), ("OUTHOOK__KAFKA__GROUP", "outhook")];
    let config = parse(SMALL, &of_variables).unwrap();
    assert_eq!((config.kafka.group.as_str(), config.definitions.topic.as_str()), ("outhook", "second.definitions"));
    let error = problem(&small("[topics]\nprefix = \"a b\""), &[]);
    assert!(error.starts_with("outhook.toml:9:1: topics.prefix is \"a b\""), "{error}");
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
        ("PROPERTIES__FETCH_MIN_BITES", "1", "librdkafka has no setting fetch.min.bites"),
        ("PROPERTIES__FETCH_MIN_BYTES", "many", "librdkafka refuses kafka.properties.fetch.min.bytes = \"many\": "),
    ];
    let text = SMALL.replace("[kafka]", "[kafka]\nsession_timeout = \"45s\"");
    for (key, value, expected) in cases {
        let error = problem(&text, &[(&format!("OUTHOOK__KAFKA__{key}"), value)]);
        assert!(error.contains(expected), "gave {error}\nnot  {expected}");
    }
}

#[test]
fn all_contradictions_are_reported_together() {
    let error =
        parse("[kafka]\nmax_uncommitted = 0\n[dead_letters]\npartitions = 0\n[drain]\ndeadline = \"1h\"\n[memory]\nmax_open_records = 0", &[])
            .unwrap_err()
            .to_string();
    assert_eq!(error.lines().count(), 5, "{error}");
}

#[test]
fn secrets_appear_in_neither_debug_output_nor_errors() {
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

/// Each key of a secret, with invalid values of every kind that contain a secret.
#[test]
fn errors_for_secret_keys_never_contain_the_value() {
    const DIGITS: &str = "31415926535897";
    let values = [
        DIGITS.to_owned(),
        format!("{DIGITS}.5"),
        format!("'{DIGITS}'"),
        format!("['{DIGITS}']"),
        format!("[{DIGITS}]"),
        format!("[['{DIGITS}']]"),
        format!("{{ value = '{DIGITS}' }}"),
        format!("http://user:{DIGITS}@proxy"),
        format!("'http://user:{DIGITS}@proxy'"),
        "${file:/nowhere/x}".to_owned(),
    ];
    for key in ["api.token_key", "definitions.secret_keys", "delivery.proxy", "kafka.properties.sasl_password"] {
        let variable = format!("OUTHOOK__{}", key.to_uppercase().replace('.', "__"));
        let (section, name) = key.rsplit_once('.').unwrap();
        for value in &values {
            for error in [
                parse(SMALL, &[(&variable, value)]).err(),
                parse(&small(&format!("[{section}]\n{name} = {value}")), &[]).err(),
                parse(SMALL, &[(&format!("OUTHOOK__{}", section.to_uppercase()), value)]).err(),
                parse(&small(&format!("{section} = {value}")), &[]).err(),
            ] {
                let told = error.map_or(String::new(), |error| format!("{error} {error:?}"));
                assert!(!told.contains(DIGITS), "{value}: {told}");
            }
        }
    }
    let error = problem(SMALL, &[("OUTHOOK__DEFINITIONS__SECRET_KEYS", DIGITS)]);
    assert!(error.starts_with("OUTHOOK__DEFINITIONS__SECRET_KEYS: definitions.secret_keys: key 1 is not"), "{error}");
}

#[test]
fn secret_keys_accepts_a_single_string() {
    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for value in [KEY.to_owned(), format!("'{KEY}'"), format!("['{KEY}']")] {
        let config = parse(SMALL, &[("OUTHOOK__DEFINITIONS__SECRET_KEYS", &value)]).unwrap();
        assert!(!config.definitions.secret_keys.is_empty());
    }
}

#[test]
fn secrets_can_be_read_from_files() {
    let folder = std::env::temp_dir().join(format!("outhook-{}-secrets", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("password").display().to_string();
    std::fs::write(&path, "hunter2\n").unwrap();
    let reference = format!("[kafka.properties]\nsasl.password = '${{file:{path}}}'\n[kafka]");
    let config = parse(&SMALL.replace("[kafka]", &reference), &[]).unwrap();
    assert_eq!(config.kafka.properties.get("sasl.password"), Some("hunter2"));

    let load = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let others = [("OUTHOOK__KAFKA__BROKERS".into(), "a:1".into())];
        Config::load(&ConfigFile::Default("/nowhere/outhook.toml".into()), others.into_iter().chain(variables))
    };
    let variable = "OUTHOOK__KAFKA__PROPERTIES__SASL_PASSWORD_FILE";
    assert_eq!(load(&[(variable, &path)]).unwrap().kafka.properties.get("sasl.password"), Some("hunter2"));
    let missing = load(&[(variable, "/nowhere/secret")]).unwrap_err().to_string();
    let expected = format!("{variable}: the file /nowhere/secret can't be read: ");
    assert!(missing.starts_with(&expected), "{missing}");
    let both = load(&[(variable, &path), ("OUTHOOK__KAFKA__PROPERTIES__SASL_PASSWORD", "x")]).unwrap_err().to_string();
    let expected = "kafka.properties.sasl.password is set by OUTHOOK__KAFKA__PROPERTIES__SASL_PASSWORD too";
    assert_eq!(both, format!("{variable}: {expected}"));
    std::fs::remove_dir_all(folder).unwrap();
    let gone = problem(&small("[api]\ntoken_key = '${file:/nowhere/token}'"), &[]);
    assert!(gone.starts_with("outhook.toml:9:13: api.token_key: the file /nowhere/token can't be read: "), "{gone}");
}

#[test]
fn misplaced_password_is_not_shown_in_errors() {
    for (variable, value) in [
        ("OUTHOOK__KAFKA__PROPERTIES", "sasl.password=hunter2"),
        ("OUTHOOK__KAFKA__PROPERTIES", "{ 'sasl.password' = 'hunter2' "),
        ("OUTHOOK__KAFKA", "brokers='x',properties={sasl.password=hunter2}"),
    ] {
        let error = problem(SMALL, &[(variable, value)]);
        assert!(error.contains("is not a section") && !error.contains("hunter2"), "{error}");
    }
    let file = ConfigFile::Default("/nowhere/outhook.toml".into());
    let not_text = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let environment = [("OUTHOOK__KAFKA__GROUP".into(), not_text)];
    assert!(Config::load(&file, environment).unwrap_err().to_string().contains("is not UTF-8"));
}

#[test]
fn consumer_has_required_settings_and_user_properties() {
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
