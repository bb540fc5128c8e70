use super::super::samples;
use super::super::{DefinitionChanges, FieldType, LogRecord, Payload};
use super::*;

#[test]
fn errors_name_line_and_key_and_hide_secrets() {
    let cases = [
        ("Webhooks:\n- Name: A\n  OutgoingUrls: []\n  Colour: red\n", "line 4", "Colour"),
        ("Webhooks:\n- OutgoingUrls: []\n", "line 2", "Name"),
        ("Webhooks:\n- Name: A\n  Name: B\n", "line 3", "Name"),
        (
            "Webhooks:\n- Name: A\n  Secret: whsec_abc\n  OutgoingUrls: {}\n",
            "line 4",
            "Webhooks[0].OutgoingUrls must be a list",
        ),
        (
            "Webhooks:\n- Name: A\n  OutgoingUrls: []\n  CallThrottling: -1\n",
            "line 4, column 19: ",
            "Webhooks[0].CallThrottling must be a whole number, not less than 0",
        ),
        (
            "Webhooks:\n- Name: A\n  OutgoingUrls: []\n  Events:\n  - EventType: table.recordInsert\n    ObjectName: null\n",
            "line 6, column 17: ",
            "Webhooks[0].Events[0].ObjectName is null, but must be a text",
        ),
        (
            "Webhooks:\n- Name: A\n  OutgoingUrls: []\n  Enabled: maybe\n",
            "line 4",
            "Webhooks[0].Enabled must be true or false",
        ),
        ("Webhooks:\n- Name: [A]\n  OutgoingUrls: []\n", "line 2, column 9: ", "Webhooks[0].Name must be a text"),
        ("Webhooks: none\n", "line 1, column 11: ", "Webhooks must be a list"),
        ("Webhooks: [none]\n", "line 1", "Webhooks[0] must be a section with keys"),
        ("Webhooks:\n- Name: A\n  Secret: [whsec_abc]\n", "line 3", "Webhooks[0].Secret must be a text"),
        ("Webhooks:\n- Name: A\n  Secret: {whsec_abc: 1}\n", "line 3", "Webhooks[0].Secret must be a text"),
        ("Webhooks:\n- Name: A\n  Headers: abc\n", "line 3", "Webhooks[0].Headers must be a section with keys"),
        ("Webhooks:\n- Name: A\n  Headers:\n", "line 3", "Webhooks[0].Headers must be a section with keys"),
        ("Webhooks:\n- Name: A\n  Headers: {X-Key: [abc]}\n", "line 3", "Webhooks[0].Headers.X-Key must be a text"),
        (
            "Webhooks:\n- Name: A\n  Authentication: abc\n",
            "line 3",
            "Webhooks[0].Authentication must be one of Basic, Bearer",
        ),
        ("Webhooks:\n- Name: A\n  Authentication: {Bearer: abc}\n", "line 3", "Bearer must be a section with keys"),
        ("Webhooks:\n- Name: A\n  Authentication: {Bearer: {Token: [abc]}}\n", "line 3", "Token must be a text"),
        ("Webhooks:\n- Name: A\n  Tls: abc\n", "line 3", "Webhooks[0].Tls must be a section with keys"),
        ("Webhooks:\n- Name: A\n  OutgoingUrls: [\n", "line", ""),
        ("Hooks: []\n", "line 1", "Hooks"),
        ("Tables:\n- Name: A\n", "line 2", "Fields"),
        ("Tables:\n- Name: A\n  Fields:\n  - Name: B\n", "line 4", "Type"),
        ("Tables:\n- Name: A\n  Fields:\n  - {Name: B, Type: TEXT, Uniqe: true}\n", "line 4", "Uniqe"),
        (
            "Tables:\n- Name: A\n  Fields:\n  - {Name: B, Type: TEXT, Unique: 7}\n",
            "line 4",
            "Tables[0].Fields[0].Unique must be true or false",
        ),
        ("# nothing\n", "line 1", "Webhooks or Tables"),
        ("{}\n", "line 1", "Webhooks or Tables"),
    ];
    for (text, place, part) in cases {
        let error = DefinitionFile::parse(text).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(part), "{text}: {error}");
        assert!(["Option<", "Policy", "u32", "sequence", "struct"].iter().all(|word| !error.contains(word)), "{error}");
        assert!(!error.contains("abc"), "{error}");
    }
}

#[test]
fn extension_keys_can_hold_yaml_anchors() {
    let text = "x-event: &event\n  EventType: table.recordInsert\n  EventSources: [Datasheets]\nx-urls: &urls [https://a.example/]\n\
                Webhooks:\n- Name: A\n  OutgoingUrls: *urls\n  Events:\n  - <<: *event\n    ObjectName: orders\n";
    let file = DefinitionFile::parse(text).unwrap();
    let webhook = &file.webhooks[0].value;
    assert_eq!(webhook.outgoing_urls, ["https://a.example/"]);
    let event = &webhook.events[0].value;
    assert_eq!((event.event_type.as_str(), event.object_name.as_str()), ("table.recordInsert", "orders"));
    assert_eq!(event.event_sources, ["Datasheets"]);
    let error = DefinitionFile::parse("x-a: 1\n").unwrap_err().to_string();
    assert!(error.contains("Webhooks or Tables"), "{error}");
}

#[test]
fn a_file_without_webhooks_is_empty() {
    assert_eq!(DefinitionFile::parse("Webhooks: []\n").unwrap(), DefinitionFile::default());
    assert_eq!(DefinitionFile::parse("Tables: []\n").unwrap(), DefinitionFile::default());
    assert_eq!(DefinitionFile::default().to_yaml(), "Webhooks: []\n");
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let file = DefinitionFile::parse("\u{feff}Webhooks:\n- Name: A\n  OutgoingUrls: []\n").unwrap();
    assert_eq!(file.webhooks[0].value.name, "A");
}

#[test]
fn definitions_are_printed_without_secrets_unless_requested() {
    let mut definitions = Definitions::default();
    let mut event = samples::event("event1", "hook01", crate::vocabulary::Operation::Insert, "Admins", &[]);
    event.payload = Payload::Template("{\n  'a': '[@field:A]'\n}".to_owned());
    event.enabled = false;
    let hook = samples::webhook("hook01", "Orders");
    for record in [LogRecord::webhook(&hook), LogRecord::event(&event)] {
        let key = record.key.to_string();
        definitions.apply(key.as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
    }
    let printed = DefinitionFile::of(&definitions, None, false).to_yaml();
    assert_eq!(
        printed,
        "Webhooks:\n- Account: acme\n  Name: Orders\n  OutgoingUrls:\n  - https://example.com/hook\n  Events:\n  \
         - EventType: table.recordInsert\n    ObjectName: Admins\n    CustomPayloadTemplate: |-\n      {\n        \
         'a': '[@field:A]'\n      }\n    Enabled: false\n"
    );
    let shown = DefinitionFile::of(&definitions, Some(&"acme".into()), true).to_yaml();
    assert!(shown.contains(&format!("Secret: {}", hook.secret.expose())), "{shown}");
    assert_eq!(DefinitionFile::of(&definitions, Some(&"zoo".into()), true), DefinitionFile::default());
    assert_eq!(format!("{:?}", SecretText("whsec_abc".to_owned())), "whsec_…");
}

#[test]
fn declared_table_is_printed_without_default_values() {
    let mut table = samples::table("Orders", &[("Card", FieldType::Password), ("At", FieldType::DateTime)]);
    table.fields[0].label = Some("Card number".to_owned());
    table.fields[1].required = true;
    table.fields[1].editable = false;
    let mut definitions = Definitions::default();
    let record = LogRecord::table(&table);
    let key = record.key.to_string();
    definitions.apply(key.as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
    assert_eq!(
        DefinitionFile::of(&definitions, None, false).to_yaml(),
        "Webhooks: []\nTables:\n- Account: acme\n  Name: Orders\n  Fields:\n  - Name: Card\n    Type: PASSWORD\n    \
         Label: Card number\n  - Name: At\n    Type: DATE/TIME\n    Required: true\n    Editable: false\n"
    );
    assert_eq!(DefinitionFile::of(&definitions, Some(&"zoo".into()), true), DefinitionFile::default());
}
