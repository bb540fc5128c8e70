//! Messages, compared byte by byte; `property` compares any template and row with a slow oracle.

mod property;

use std::sync::Arc;

use super::*;
use crate::decode::{Field, Identity, Row, UnknownChangePolicy, Value};
use crate::definition::{Event, FieldType, Payload, Secret, Webhook, samples};
use crate::vocabulary::Operation;

fn webhook() -> Webhook {
    Webhook {
        urls: vec!["https://example.com/a".to_owned(), "https://example.com/b".to_owned()],
        secret: Secret::from_random([0; 32]),
        ..samples::webhook("whk001", "CRM")
    }
}

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn event(payload: Payload) -> Event {
    Event { payload, ..samples::event("4040va", "whk001", Operation::Update, "MyCustomers", &[]) }
}

fn rule(payload: Payload) -> Rule {
    let target = Arc::new(Target::of(&webhook()).unwrap());
    Rule::compile(&webhook(), &event(payload), &target).unwrap()
}

fn template(text: &str) -> Rule {
    rule(Payload::Template(text.to_owned()))
}

pub(super) fn row(fields: &[(&str, &str)]) -> Row<'static> {
    let field = |(name, json): &(&str, &str)| Field { name: (*name).to_owned().into(), value: value(json) };
    Row::new(fields.iter().map(field).collect())
}

fn value(json: &str) -> Value<'static> {
    match json {
        "unavailable" => Value { available: false, ..Value::new("\"__debezium_unavailable_value\"") },
        json => Value::new(json.to_owned()),
    }
}

pub(super) fn update(after: Row<'static>) -> RowChange<'static> {
    RowChange {
        account: "acme".into(),
        table: "MyCustomers".into(),
        operation: Operation::Update,
        source: None,
        event_date: EventDate { at: "2023-05-17T12:45:27.5286883Z".parse().unwrap(), fraction_digits: 7 },
        sequence: Sequence::Postgres { commit: 0x19c_c888, lsn: 0x19c_cb30, after_delete: true },
        identity: Identity::ProducerId("change-1".into()),
        before: None,
        after: Some(after),
        trimmed: false,
        unknown_change: UnknownChangePolicy::Fire,
    }
}

fn messages(rule: &Rule, change: &RowChange<'_>) -> Vec<Message> {
    Renderer::default().render(rule, change).collect::<Result<_, _>>().unwrap()
}

fn body(rule: &Rule, change: &RowChange<'_>) -> String {
    String::from_utf8(messages(rule, change)[0].body.to_vec()).unwrap()
}

/// A rule on a table with two fields that are declared as passwords.
fn rule_with_passwords(payload: Payload) -> Rule {
    let fields = [("Pin", FieldType::Password), ("Id", FieldType::Integer), ("Password", FieldType::Password)];
    let table = samples::table("MyCustomers", &fields);
    let target = Arc::new(Target::of(&webhook()).unwrap());
    Rule::compile_on(Some(&table), &webhook(), &event(payload), &target).unwrap()
}

#[test]
fn password_is_sent_only_by_templates_that_name_it() {
    let change = update(row(&[("Password", "\"p\""), ("Id", "7"), ("Pin", "1"), ("Name", "\"Ada\"")]));
    let data = |payload: Payload| {
        let body = body(&rule_with_passwords(payload), &change);
        body.split_once("\"data\":").map_or(body.clone(), |(_, data)| data.to_owned())
    };
    let names = |names: &[&str]| Payload::Fields(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(data(Payload::Default), r#"[{"Id":7,"Name":"Ada"}]}"#);
    assert_eq!(data(names(&["Password", "Name", "Pin"])), r#"[{"Name":"Ada"}]}"#);
    assert_eq!(data(names(&["Password"])), "[{}]}");
    assert_eq!(data(Payload::Template("{'p':'[@field:Password]'}".to_owned())), r#"{"p":"p"}"#);
}

#[test]
fn duplicate_field_is_sent_once_with_its_last_value() {
    let change = update(row(&[("Id", "7"), ("Name", "\"old\""), ("Name", "\"new\"")]));
    let default = body(&rule(Payload::Default), &change);
    assert!(default.ends_with(r#""data":[{"Id":7,"Name":"new"}]}"#), "{default}");
    assert_eq!(body(&template("{'n':'[@field:Name]'}"), &change), r#"{"n":"new"}"#);
    let chosen = body(&rule(Payload::Fields(vec!["Name".to_owned()])), &change);
    assert!(chosen.ends_with(r#""data":[{"Name":"new"}]}"#), "{chosen}");
}

#[test]
fn first_example_of_the_seed_page_is_rendered_exactly() {
    let rule = rule(Payload::Fields(vec!["First_Name".to_owned(), "Last_Name".to_owned()]));
    let change = update(row(&[("Id", "7"), ("Last_Name", "\"Lovelace\""), ("First_Name", "\"Ada\"")]));
    let id = messages(&rule, &change)[0].id;
    assert_eq!(
        body(&rule, &change),
        format!(
            concat!(
                r#"{{"eventId":"4040va","messageId":"{}","webhookId":"whk001","accountId":"acme","secret":"{}","#,
                r#""eventDate":"2023-05-17T12:45:27.5286883Z","eventType":"table.recordUpdate","objectName":"MyCustomers","#,
                r#""data":[{{"First_Name":"Ada","Last_Name":"Lovelace"}}]}}"#
            ),
            id, SECRET
        )
    );
}

/// The template of the page's second example.
const ADMINS: &str = "
{
'@type':'MessageCard',
'@context':'http://test.com/myextension',
'themeColor':'0078D7',
'summary':'Example Summary',
'sections':[
{
'activityTitle':'Hello [@field:MessageTo]',
'activitySubtitle':'[@field:MessageTitle]',
'facts':[
{
'name':'From:',
'value':'[@field:MessageFrom]'
},
{
'name':'Date:',
'value':'[@out-hook:eventDate]'
}
],
'text':'[@field:Message].'
}
]
}";

#[test]
fn second_example_of_the_seed_page_is_rendered_exactly() {
    let change = update(row(&[
        ("MessageTo", "\"Ada\""),
        ("MessageTitle", "null"),
        ("MessageFrom", "12.50"),
        ("Message", r#""He said \"hi\"\nand left""#),
    ]));
    assert_eq!(
        body(&template(ADMINS), &change),
        concat!(
            r#"{"@type":"MessageCard","@context":"http://test.com/myextension","themeColor":"0078D7","#,
            r#""summary":"Example Summary","sections":[{"activityTitle":"Hello Ada","activitySubtitle":null,"#,
            r#""facts":[{"name":"From:","value":12.50},{"name":"Date:","value":"2023-05-17T12:45:27.5286883Z"}],"#,
            r#""text":"He said \"hi\"\nand left."}]}"#
        )
    );
}

#[test]
fn default_payload_sends_every_field_unchanged() {
    let mut change = update(row(&[
        ("id", "9223372036854775807"),
        ("it's \"q\" \\ \n", "1.00"),
        ("ключ", "null"),
        ("flag", "true"),
        ("toast", "unavailable"),
        ("gone", "unavailable"),
        ("tags", "[1, {\"a\":2}]"),
    ]));
    change.before = Some(row(&[("toast", "\"long text\""), ("gone", "unavailable")]));
    let body = body(&rule(Payload::Default), &change);
    assert!(
        body.ends_with(
            r#""data":[{"id":9223372036854775807,"it's \"q\" \\ \n":1.00,"ключ":null,"flag":true,"toast":"long text","tags":[1, {"a":2}]}]}"#
        ),
        "{body}"
    );
}

#[test]
fn missing_chosen_fields_are_null_and_unsent_ones_are_omitted() {
    let chosen = ["none", "toast", "a.b [c]", "id"].map(str::to_owned).to_vec();
    let rule = rule(Payload::Fields(chosen));
    let mut change = update(row(&[("toast", "unavailable"), ("id", "1"), ("a.b [c]", "2")]));
    assert!(body(&rule, &change).ends_with(r#""data":[{"none":null,"a.b [c]":2,"id":1}]}"#));
    change.operation = Operation::Delete;
    change.before = Some(row(&[("id", "1")]));
    change.trimmed = true;
    assert!(body(&rule, &change).ends_with(r#""data":[{"id":1}]}"#));
    assert!(body(&self::rule(Payload::Fields(Vec::new())), &change).ends_with(r#""data":[{}]}"#));
}

#[test]
fn template_lists_the_fields_that_the_source_did_not_send() {
    let rule = template("{'missing':'[@out-hook:missing]','text':'no [@out-hook:missing]'}");
    let mut change = update(row(&[("toast \"1\"", "unavailable"), ("id", "1"), ("toast 2", "unavailable")]));
    assert_eq!(
        body(&rule, &change),
        r#"{"missing":["toast \"1\"","toast 2"],"text":"no [\"toast \\\"1\\\"\",\"toast 2\"]"}"#
    );
    change.before = Some(row(&[("toast \"1\"", "null"), ("toast 2", "7")]));
    assert_eq!(body(&rule, &change), r#"{"missing":[],"text":"no []"}"#);
}

#[test]
fn row_values_are_never_parsed_as_template_text() {
    let change = update(row(&[
        ("a", r#""'\"\\ \u0000 [@field:b] [@out-hook:secret]""#),
        ("b", r#"{"x": "\"y\""}"#),
        ("n", "null"),
    ]));
    assert_eq!(
        body(
            &template(
                "{'t':'<[@field:a]>[@field:n][@field:none]','b':'[@field:b]','o':'o: [@field:b]','[@field:n]':'[@field:none]'}"
            ),
            &change
        ),
        r#"{"t":"<'\"\\ \u0000 [@field:b] [@out-hook:secret]>","b":{"x": "\"y\""},"o":"o: {\"x\": \"\\\"y\\\"\"}","":null}"#
    );
}

#[test]
fn last_of_keys_that_render_equal_wins() {
    let rule = template("{'a':1,'[@field:k]':{'[@field:k]':2},'c':3,'[@field:l]':4}");
    let keys = |k: &str, l: &str| body(&rule, &update(row(&[("k", k), ("l", l)])));
    assert_eq!(keys(r#""x""#, r#""y""#), r#"{"a":1,"x":{"x":2},"c":3,"y":4}"#);
    assert_eq!(keys(r#""a""#, r#""c""#), r#"{"a":{"a":2},"c":4}"#);
    assert_eq!(keys(r#""\u0061""#, r#""a""#), r#"{"c":3,"a":4}"#);
}

#[test]
fn ids_depend_only_on_the_identity_of_the_change() {
    let rule = rule(Payload::Default);
    let change = update(row(&[("id", "1")]));
    let first = messages(&rule, &change);
    let mut again = update(row(&[("id", "2")]));
    again.event_date.fraction_digits = 0;
    let second = messages(&rule, &again);
    assert_eq!(first[0].id.to_string(), "3f45274e-bfeb-8f43-b12b-b45e3a4b982e", "ids must never change");
    assert_eq!((first[0].id, first[0].call_id, first[1].call_id), (second[0].id, second[0].call_id, second[1].call_id));
    assert_ne!(first[0].call_id, first[1].call_id);
    assert_eq!(first[0].id, first[1].id);
    assert_eq!(first[0].body.as_ptr(), first[1].body.as_ptr(), "the calls of a message share its body");
    let mut other_table = update(row(&[]));
    other_table.table = "MyCustomer".into();
    let mut other_identity = update(row(&[]));
    other_identity.identity = Identity::Debezium("change-1".to_owned());
    assert_ne!(messages(&rule, &other_table)[0].id, first[0].id);
    assert_ne!(messages(&rule, &other_identity)[0].id, first[0].id);
}

#[test]
fn call_id_parameter_gives_each_call_a_separate_body() {
    let messages = messages(&template("['[@out-hook:callId]','[@out-hook:sequence]']"), &update(row(&[])));
    for message in &messages {
        let expected = format!(r#"["{}","00000000019cc888-00000000019ccb30-1"]"#, message.call_id);
        assert_eq!(message.body, expected.as_bytes());
    }
    assert_ne!(messages[0].body, messages[1].body);
}

#[test]
fn attachment_renders_as_a_url_if_a_pattern_is_configured() {
    let rule = template("['[@field:Photo/]','see [@field:Photo/]','[@field:None/]']");
    let change = update(row(&[("Photo", r#""/a b/ü\"1.png""#), ("None", "null")]));
    assert_eq!(body(&rule, &change), r#"[null,"see ",null]"#);
    let pattern = "https://f.example/{account}/{table}?f={field}&v={value}".parse().unwrap();
    let mut renderer = Renderer::new(Some(pattern));
    let message = renderer.render(&rule, &change).next().unwrap().unwrap();
    let url = "https://f.example/acme/MyCustomers?f=Photo&v=%2Fa%20b%2F%C3%BC%221.png";
    assert_eq!(message.body, format!(r#"["{url}","see {url}",null]"#).as_bytes());
    let error = "https://f.example/{id}".parse::<AttachmentUrl>().unwrap_err().to_string();
    assert!(error.contains("{id} is not a placeholder; use {account}, {table}, {field} and {value}"), "{error}");
}

#[test]
fn message_over_the_size_limit_is_not_rendered() {
    let mut renderer = Renderer::default();
    let change = update(row(&[("big", &format!("\"{}\"", "x".repeat(1024 * 1024)))]));
    let keys: String = (0..1_000).map(|n| format!("'[@field:big]{n}':1,")).collect();
    for text in [
        format!("['{}']", "[@field:big]".repeat(100)),
        format!("{{'{}':1}}", "[@field:big]".repeat(11)),
        format!("{{{}}}", keys.trim_end_matches(',')),
    ] {
        let rule = template(&text);
        let mut messages = renderer.render(&rule, &change);
        let Some(Err(TooLarge { at_least })) = messages.next() else { panic!("it is too large") };
        assert!((MAX_MESSAGE_BYTES..MAX_MESSAGE_BYTES + 2 * 1024 * 1024).contains(&at_least), "{at_least}");
        assert!(messages.next().is_none());
        assert!(renderer.buffer.capacity() <= MAX_KEPT_BUFFER_BYTES);
    }
}

#[test]
fn secret_is_not_in_debug_output() {
    let shown = format!("{:?}", rule(Payload::Default));
    assert!(!shown.contains("AAAA"), "{shown}");
}

#[test]
fn event_dates_keep_their_precision() {
    let shown = |at: &str, digits| EventDate { at: at.parse().unwrap(), fraction_digits: digits }.to_string();
    assert_eq!(shown("2024-02-29T13:14:15.123456789Z", 0), "2024-02-29T13:14:15Z");
    assert_eq!(shown("2024-02-29T13:14:15.123456789Z", 3), "2024-02-29T13:14:15.123Z");
    assert_eq!(shown("2024-02-29T13:14:15.000000009Z", 9), "2024-02-29T13:14:15.000000009Z");
    assert_eq!(shown("1969-12-31T23:59:59.25Z", 2), "1969-12-31T23:59:59.25Z");
    assert_eq!(shown("-000043-03-15T00:00:00Z", 0), "-000043-03-15T00:00:00Z");
}
