//! Tests of the arguments, and of what commands print for a row change.

use clap::Parser;
use serde_json::json;

use super::definitions::LoadedDefinitions;
use super::*;
use crate::definition::{DefinitionChanges, Definitions, Event, FieldType, LogRecord, Payload, Webhook, samples};
use crate::render::Renderer;

#[derive(Parser)]
enum Command {
    Preview(preview::Args),
    Explain(explain::Args),
}

fn definitions() -> Vec<(Webhook, Event)> {
    let stamp = json!({"at": "2023-05-17T12:45:27.5286883Z", "by": "test"});
    let webhook = json!({
        "id": "whk001", "account": "acme", "name": "CRM", "urls": ["https://example.com/a", "https://example.com/b"],
        "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "created": stamp,
    });
    let event = |id: &str, fields: &[&str], template: &str| {
        json!({
            "id": id, "webhook": "whk001", "operation": "table.recordUpdate", "object_name": "orders", "enabled": true,
            "object_fields": fields, "payload": {"template": template}, "created": stamp,
        })
    };
    [
        event("evt001", &["total"], "{'total':'[@field:total]','lines':[1,{}],'text':'a{\\\"[@field:note]'}"),
        event("evt002", &["note"], "{'id':'[@out-hook:callId]'}"),
    ]
    .map(|event| (serde_json::from_value(webhook.clone()).unwrap(), serde_json::from_value(event).unwrap()))
    .to_vec()
}

/// The definitions without declared tables.
fn loaded() -> LoadedDefinitions {
    LoadedDefinitions { events: definitions(), definitions: Definitions::default() }
}

fn change() -> crate::decode::RowChange<'static> {
    use crate::decode::*;
    let row = |total| {
        let fields = [("total", total), ("note", "\"x:\\\"y\"")];
        Row::new(fields.map(|(name, json): (_, &str)| Field { name: name.into(), value: Value::new(json) }).into())
    };
    RowChange {
        account: "acme".into(),
        table: "orders".into(),
        operation: crate::vocabulary::Operation::Update,
        source: None,
        event_date: EventDate { at: jiff::Timestamp::UNIX_EPOCH, fraction_digits: 0 },
        sequence: Sequence::Offset { partition: 0, offset: 1 },
        identity: Identity::ProducerId("1".into()),
        before: Some(row("1.50")),
        after: Some(row("2.50")),
        trimmed: false,
        unknown_change: UnknownChangePolicy::Fire,
    }
}

#[test]
fn preview_shows_the_payload_and_the_urls() {
    let text = preview::text(&change(), &loaded(), None, false, &mut Renderer::default()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "event evt001 of webhook whk001 (CRM)");
    assert!(lines[1].starts_with("message ") && lines[1].contains(" to https://example.com/a, call "));
    assert_eq!(
        lines[2..10],
        ["{", "  \"total\": 2.50,", "  \"lines\": [", "    1,", "    {}", "  ],", r#"  "text": "a{\"x:\"y""#, "}"]
            .map(|line| line.replace("x:\"y", "x:\\\"y"))
    );
    assert!(lines[10].contains(" to https://example.com/b, call "));
    assert_eq!(lines.len(), 11, "{text}");
}

#[test]
fn preview_of_a_named_event_is_shown_even_if_it_does_not_fire() {
    let named = Some("evt002".parse().unwrap());
    let text = preview::text(&change(), &loaded(), named, false, &mut Renderer::default()).unwrap();
    assert!(text.contains("not sent: none of its fields changed: \"note\" has the same value"), "{text}");
    let raw = preview::text(&change(), &loaded(), named, true, &mut Renderer::default()).unwrap();
    assert_eq!(raw.lines().count(), 2, "each call has its own body");
    assert!(raw.lines().all(|line| line.starts_with("{\"id\":\"")), "{raw}");
}

#[test]
fn preview_fails_if_no_event_fires_or_the_event_is_unknown() {
    let mut renderer = Renderer::default();
    let unknown = preview::text(&change(), &loaded(), Some("zzzzzz".parse().unwrap()), false, &mut renderer);
    assert_eq!(unknown.unwrap_err().to_string(), "there is no event zzzzzz in the change's account");
    let second = LoadedDefinitions { events: definitions().split_off(1), ..LoadedDefinitions::default() };
    let none = preview::text(&change(), &second, None, false, &mut renderer);
    assert!(none.unwrap_err().to_string().starts_with("no event fires"));
}

#[test]
fn preview_omits_password_fields_from_default_payloads() {
    let mut loaded = loaded();
    let table = LogRecord::table(&samples::table("orders", &[("note", FieldType::Password)]));
    let key = table.key.to_string();
    loaded.definitions.apply(key.as_bytes(), table.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
    let shown = |loaded: &LoadedDefinitions| {
        let only = Some("evt001".parse().unwrap());
        preview::text(&change(), loaded, only, true, &mut Renderer::default()).unwrap()
    };
    assert!(shown(&loaded).contains("x:"), "a template names it");
    loaded.events[0].1.payload = Payload::Default;
    let text = shown(&loaded);
    assert!(text.contains("\"data\":[{\"total\":2.50}]") && !text.contains("x:"), "{text}");
}

#[test]
fn explain_has_a_line_for_each_definition() {
    assert_eq!(
        explain::text(&change(), &["operatoin".to_owned()], &definitions()),
        "update in table \"orders\" of account \"acme\"\n  \
           source       not known\n  \
           date         1970-01-01T00:00:00Z\n  \
           identity     its own, \"1\"\n  \
           before       2 fields (total, note)\n  \
           after        2 fields (total, note)\n  \
           ignored keys operatoin\n\
         \"CRM\", table.recordUpdate of \"orders\": event evt001 of webhook whk001 fires: changed: \"total\"\n\
         \"CRM\", table.recordUpdate of \"orders\": event evt002 of webhook whk001 does not fire: none of its fields changed: \"note\" has the same value\n"
    );
    assert!(explain::text(&change(), &[], &[]).ends_with("the account has no definitions\n"));
}

#[test]
fn settings_are_spelled_as_in_the_configuration() {
    let parse = |words: &[&str]| Command::try_parse_from([&["outhook"], words].concat());
    let Ok(Command::Explain(args)) = parse(&["explain", "--change", "-", "--unknown-change", "skip"]) else {
        panic!("it is spelled right")
    };
    assert_eq!(args.change.unknown_change, Some(crate::decode::UnknownChangePolicy::Skip));
    let Err(error) = parse(&["preview", "--change", "-", "--format", "maxwell"]) else { panic!("it is unknown") };
    assert!(error.to_string().contains("expected `outhook` or `debezium`"), "{error}");
}

#[test]
fn documented_command_lines_parse_and_invalid_ones_exit_with_2() {
    use clap::CommandFactory as _;
    Arguments::command().debug_assert();
    for line in [
        "outhook run",
        "outhook run --config x.toml",
        "outhook --config x.toml check --offline",
        "outhook topics create -c x.toml",
        "outhook topics check",
        "outhook apply -f webhooks.yaml --dry-run --prune --config x.toml",
        "outhook get",
        "outhook dead-letters list --since 2h --class status_5xx --endpoint https://a.example --kind call --json",
        "outhook dead-letters show 2:1044 --show-secrets",
        "outhook dead-letters show 00000000-0000-0000-0000-000000000001",
        "outhook replay --topic orders --from 2026-11-24T10:00:00Z --to 2026-11-24T14:00:00Z --webhook 3f0zq9 --dry-run",
        "outhook replay --topic orders --from 2026-11-24 --webhook 3f0zq9 --dry-run",
        "outhook replay --topic orders --from 2d --to 1d --event k2m4xa --event p07c1d",
        "outhook replay --topic orders --partition 3 --from 1200 --webhook 3f0zq9",
        "outhook replay --topic orders --partition 3 --from 1200 --to 1300 --webhook 3f0zq9",
        "outhook replay --topic orders --from 0 --webhook 3f0zq9 --rate 50",
        "outhook replay --topic orders --spans 0:1044-2000,2:980-1900 --webhook 3f0zq9 --json",
        "outhook preview --change row.json",
        "outhook explain --change row.json -f webhooks.yaml",
    ] {
        if let Err(error) = Arguments::try_parse_from(line.split(' ')) {
            panic!("{line}: {error}");
        }
    }
    for line in [
        "outhook",
        "outhook runn",
        "outhook run --offline",
        "outhook topics",
        "outhook dead-letters show 2",
        "outhook dead-letters list --limit 0",
        "outhook replay --topic orders --from 2d",
        "outhook replay --topic orders --webhook 3f0zq9",
        "outhook replay --from 2d --webhook 3f0zq9",
        "outhook replay --topic orders --from 0 --webhook 3f0zq9 --rate 0",
        "outhook replay --topic orders --from 0 --spans 0:1-2 --webhook 3f0zq9",
    ] {
        let error = Arguments::try_parse_from(line.split(' ')).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    let help = Arguments::command().render_long_help().to_string();
    assert!(help.contains("To start:") && help.contains("Exit codes: 0 done; 1 failed; 2 bad arguments"), "{help}");
}

#[test]
fn named_configuration_file_must_exist() {
    let named = config_file(Some("x.toml".into()));
    assert_eq!(named, config::ConfigFile::Named("x.toml".into()));
    let failure =
        CommandFailure::from(Config::load(&config::ConfigFile::Named("/nowhere/x.toml".into()), []).unwrap_err());
    let shown = format!("{failure:?}");
    assert!(shown.contains("code: 2") && shown.contains("/nowhere/x.toml does not exist"), "{shown}");
}

#[test]
fn header_options_set_record_headers_and_errors_hide_their_values() {
    let path = std::env::temp_dir().join(format!("outhook-{}-header.json", std::process::id()));
    std::fs::write(&path, r#"{"table":"orders","operation":"insert","after":{"id":1},"acount":"x"}"#).unwrap();
    let config = "kafka.brokers = \"b:1\"\n[[sources]]\ntopics = \"t\"\nformat = \"outhook\"\nevent_source = {header = \"origin\"}";
    let config = Config::parse(Path::new("outhook.toml"), config, Vec::new()).unwrap();
    let explained = |headers: &[&str]| {
        let words =
            ["outhook", "explain", "--change", path.to_str().unwrap()].into_iter().chain(headers.iter().copied());
        let Ok(Command::Explain(args)) = Command::try_parse_from(words) else { panic!("{headers:?}") };
        explain::run(&args, Some(&config), &[])
    };
    let text = explained(&["--header", "other=1", "--header", "origin=Tasks"]).unwrap();
    assert!(text.contains("  source       Tasks\n") && text.contains("  ignored keys acount\n"), "{text}");
    assert!(explained(&[]).unwrap().contains("  source       not known\n"));
    let error = explained(&["--header", "origin=Tasks", "--header", "hunter2"]).unwrap_err().to_string();
    assert_eq!(error, "the value of --header number 2 has no =: write it as name=value");
    std::fs::remove_file(path).unwrap();
}
