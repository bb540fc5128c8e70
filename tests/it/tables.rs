//! Declared tables: their description in the API, and the fields that are not sent.

use harness::{Api, Broker, Receiver, Site, eventually, order, webhooks};
use serde_json::{Value, json};

use crate::{EFFECTIVE, OUTHOOK, SOON};

/// A field, declared or not.
fn field(name: &str, kind: &str, more: &Value) -> Value {
    let mut field = json!({"Name": name, "Type": kind, "Label": name, "Description": "", "Unique": false,
        "Required": false, "Editable": true});
    for (key, value) in more.as_object().into_iter().flatten() {
        field[key] = value.clone();
    }
    field
}

/// The insert of a member, whose password is `hunter` and the number.
fn member(number: usize) -> (String, String) {
    let row = format!(r#"{{"Email":"ada@example.com","Id":{number},"Password":"hunter{number}"}}"#);
    (number.to_string(), format!(r#"{{"id":"m{number}","table":"members","operation":"insert","after":{row}}}"#))
}

/// The table of members as a file, with this type of the field `Password`.
fn declared(kind: &str) -> String {
    format!(
        "Tables:\n- Account: acme\n  Name: members\n  Fields:\n  - Name: Password\n    Type: {kind}\n    Label: Secret \
         word\n    Required: true\n    Editable: false\n  - Name: Email\n    Type: string\n    Description: Where to \
         write\n    Unique: true\n"
    )
}

/// Three webhooks: with all fields, with selected fields, and with a template.
fn hooks(receiver: &Receiver) -> String {
    let insert = "EventType: table.recordInsert, ObjectName: members";
    let chosen = format!("{insert}, CustomPayloadFields: [Password, Email]");
    let template = format!("{insert}, CustomPayloadTemplate: \"{{'p':'[@field:Password]'}}\"");
    let url = |path| [receiver.url(path)];
    webhooks(&[
        ("all", &url("/all"), &[insert]),
        ("chosen", &url("/chosen"), &[&chosen]),
        ("template", &url("/template"), &[&template]),
    ])
}

/// The data of the last message of a path, once it has received `count`.
#[track_caller]
fn data(receiver: &Receiver, path: &str, messages: usize) -> Value {
    receiver.wait(path, messages, SOON);
    let requests = receiver.requests(path);
    let last = requests.last().expect("a message has arrived");
    let message: Value = serde_json::from_slice(&last.body).expect("a body is JSON");
    message["data"][0].clone()
}

/// The preview of the only event of the webhook with this name, for the newest change of its table.
#[track_caller]
fn preview(api: &Api, webhook: &str) -> Value {
    let webhooks = api.get("/v2/outgoingWebhooks").body;
    let is_named = |hook: &&Value| hook["Name"] == webhook;
    let hook = webhooks.as_array().unwrap().iter().find(is_named).expect("the webhook exists")["Id"].as_str().unwrap();
    let events = format!("/v2/outgoingWebhooks/{hook}/events");
    let event = api.get(&events).body[0]["Id"].as_str().unwrap().to_owned();
    let shown = api.post(&format!("{events}/{event}/preview"), &json!({}));
    assert_eq!(shown.status, 200, "{shown:?}");
    shown.body
}

#[test]
fn declared_table_is_listed_and_its_passwords_are_not_sent_by_default() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&(hooks(&receiver) + &declared("password")));
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let shown = [
        field("Password", "PASSWORD", &json!({"Label": "Secret word", "Required": true, "Editable": false})),
        field("Email", "STRING", &json!({"Description": "Where to write", "Unique": true})),
    ];
    assert_eq!(api.get("/v2/tables").body, json!({"Result": ["members"]}));
    assert_eq!(api.get("/v2/tables/members/fields").body, json!({"Result": shown}));
    let unknown = api.get("/v2/tables/orders/fields");
    assert_eq!((unknown.status, unknown.text("Code").as_str()), (404, "ObjectNotFound"));
    let theirs = instance.api(&site.client(&["--account", "zoo"]));
    assert_eq!(theirs.get("/v2/tables").body, json!({"Result": []}));
    assert_eq!(theirs.get("/v2/tables/members/fields").status, 404);

    site.produce([member(1), order(1)]);
    assert_eq!(data(&receiver, "/all", 1), json!({"Email": "ada@example.com", "Id": 1}));
    assert_eq!(data(&receiver, "/chosen", 1), json!({"Email": "ada@example.com"}));
    receiver.wait("/template", 1, SOON);
    assert_eq!(&receiver.requests("/template")[0].body[..], br#"{"p":"hunter1"}"#);

    let with_seen = json!({"Result": [shown[0], shown[1], field("Id", "INTEGER", &Value::Null)]});
    eventually("seen and declared fields are both listed", SOON, || {
        let tables = api.get("/v2/tables").body == json!({"Result": ["members", "orders"]});
        (tables && api.get("/v2/tables/members/fields").body == with_seen).then_some(())
    });
    let (all, chosen, template) = (preview(&api, "all"), preview(&api, "chosen"), preview(&api, "template"));
    assert!(!all.to_string().contains("hunter") && !chosen.to_string().contains("hunter"), "{all}\n{chosen}");
    assert_eq!(all["Warnings"], json!([]));
    assert!(chosen["Warnings"][0].as_str().unwrap().contains("declared as PASSWORD"), "{chosen}");
    assert!(template.to_string().contains("hunter1"), "{template}");
    let change = site.file("json", &member(2).1).display().to_string();
    let printed = site.run(&["preview", "--raw", "--change", &change]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let passwords = printed.stdout.lines().filter(|line| line.contains("hunter2")).collect::<Vec<_>>();
    assert_eq!((printed.stdout.lines().count(), passwords), (3, vec![r#"{"p":"hunter2"}"#]));
}

#[test]
fn a_changed_declaration_takes_effect_without_a_restart() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&hooks(&receiver));
    let _instance = site.start();
    let has_password = |number: usize| {
        site.produce([member(number)]);
        [data(&receiver, "/all", number), data(&receiver, "/chosen", number)].map(|data| data.get("Password").is_some())
    };
    let effective = || std::thread::sleep(EFFECTIVE);
    assert_eq!(has_password(1), [true, true]);
    site.apply(&declared("PASSWORD"));
    effective();
    assert_eq!(has_password(2), [false, false]);
    site.apply(&declared("TEXT"));
    effective();
    assert_eq!(has_password(3), [true, true]);
    site.apply(&declared("PASSWORD"));
    effective();
    assert_eq!(has_password(4), [false, false]);
    let other = format!("{}Tables:\n- {{Account: acme, Name: other, Fields: []}}\n", hooks(&receiver));
    let file = site.file("yaml", &other);
    let pruned = site.run(&["apply", "--prune", "-f", &file.display().to_string()]);
    assert!(pruned.stdout.contains("- table \"members\" in account \"acme\""), "{}{}", pruned.stdout, pruned.stderr);
    effective();
    assert_eq!(has_password(5), [true, true]);
}

#[test]
fn apply_accepts_the_tables_that_get_prints() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let file = hooks(&receiver) + &declared("PASSWORD");
    let dry = site.run(&["apply", "--dry-run", "-f", &site.file("yaml", &file).display().to_string()]);
    assert!(dry.stdout.contains("+   field \"Password\": PASSWORD, required, not editable"), "{}", dry.stdout);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), 0, "a dry run writes nothing");
    site.apply(&file);
    let written = Broker::get().read_all(&site.definitions).len();
    let got = site.run(&["get"]);
    assert!(got.stdout.contains("Tables:\n- Account: acme\n  Name: members\n"), "{}{}", got.stdout, got.stderr);
    let again = site.file("yaml", &got.stdout).display().to_string();
    let applied = site.run(&["apply", "--prune", "-f", &again]);
    assert_eq!(applied.stdout, "nothing to change\n", "{}", applied.stderr);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), written);

    let wrong = declared("PASWORD");
    let refused = site.run(&["apply", "-f", &site.file("yaml", &wrong).display().to_string()]);
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.stderr.contains("line 5, column 5: field \"Password\" of table \"members\": Type"),
        "{}",
        refused.stderr
    );
}

/// The response to an event on members with this key and value.
fn asked(api: &Api, webhook: &str, key: &str, value: &Value) -> (u16, String) {
    let mut event = json!({"EventType": "table.recordUpdate", "ObjectName": "members"});
    event[key] = value.clone();
    let events = format!("/v3/outgoingWebhooks/{webhook}/events");
    let made = api.post(&events, &event);
    if made.status == 201 {
        let event = made.text("Id");
        let changed = api.put(
            &format!("{events}/{event}"),
            &json!({"EventType": "table.recordUpdate",
            "ObjectName": "members", "ObjectFields": ["Nme"]}),
        );
        assert_eq!(changed.status, 400, "{changed:?}");
        assert_eq!(api.delete(&format!("{events}/{event}")).status, 204);
    }
    (made.status, made.body.to_string())
}

#[test]
fn unknown_field_of_a_declared_table_is_rejected_everywhere() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let file = |field: &str| {
        let event = format!("EventType: table.recordInsert, ObjectName: members, CustomPayloadFields: [{field}]");
        webhooks(&[("members", &[receiver.url("/members")], &[&event])]) + &declared("PASSWORD")
    };
    let apply = |file: &str| site.run(&["apply", "-f", &site.file("yaml", file).display().to_string()]);
    let refused = apply(&file("Id"));
    assert!(
        refused.code == Some(1) && refused.stderr.contains("has no field \"Id\"") && refused.stderr.contains("line "),
        "{}",
        refused.stderr
    );
    site.apply(&file("Email"));
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let webhook = api.get("/v2/outgoingWebhooks").body[0]["Id"].as_str().unwrap().to_owned();
    let wrong = [
        ("ObjectFields", json!(["Emial"])),
        ("CustomPayloadFields", json!(["Emial"])),
        ("CustomPayloadTemplate", json!("{'a': '[@field:Emial]'}")),
    ];
    for (key, value) in &wrong {
        let (status, told) = asked(&api, &webhook, key, value);
        let names = told.contains(&format!("{key}: table")) && told.contains("the nearest is \\\"Email\\\"");
        assert!(status == 400 && names, "{status} {told}");
        let mut event = json!({"EventType": "table.recordUpdate", "ObjectName": "members"});
        event[*key] = value.clone();
        let preview = json!({"Event": event, "Change": {"table": "members", "operation": "insert", "after": {}}});
        let previewed = api.post(&format!("/v3/outgoingWebhooks/{webhook}/preview"), &preview);
        assert_eq!(previewed.status, 400, "{previewed:?}");
    }
    assert_eq!(asked(&api, &webhook, "ObjectFields", &json!(["Password"])).0, 201);
    assert_eq!(asked(&api, &webhook, "ObjectFields", &json!(["Id"])).0, 400);
    // The row change makes the field known, although it is not declared.
    site.produce([member(1)]);
    eventually("the field was seen", SOON, || {
        (asked(&api, &webhook, "ObjectFields", &json!(["Id"])).0 == 201).then_some(())
    });
    assert_eq!(instance.stop().code, Some(0));
    let applied = apply(&file("Id"));
    assert_eq!(applied.code, Some(0), "the stats topic contains the seen fields: {}", applied.stderr);
}

#[test]
fn events_on_undeclared_tables_are_rejected_if_configured() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let on = |table: &str| {
        let event = format!("EventType: table.recordInsert, ObjectName: {table}");
        webhooks(&[("members", &[receiver.url("/members")], &[&event])]) + &declared("PASSWORD")
    };
    site.apply(&on("elsewhere"));
    let fewer = on("members") + "  - {Name: Id, Type: INTEGER}\n";
    site.apply(&fewer.replace("ObjectName: members", "ObjectName: members, CustomPayloadFields: [Id]"));
    site.apply(&declared("PASSWORD"));
    let checked = site.run(&["check"]).stdout;
    assert!(checked.contains("has no field \"Id\" (the nearest is"), "{checked}");
    site.set("definitions.unknown_tables", "refuse");
    let refused = site.run(&["apply", "-f", &site.file("yaml", &on("member")).display().to_string()]);
    let told = "ObjectName: table \"member\" is not declared (the nearest is \"members\")";
    assert!(refused.code == Some(1) && refused.stderr.contains(told), "{}", refused.stderr);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let webhook = api.get("/v2/outgoingWebhooks").body[0]["Id"].as_str().unwrap().to_owned();
    let events = format!("/v3/outgoingWebhooks/{webhook}/events");
    let on = |table: &str| api.post(&events, &json!({"EventType": "table.recordDelete", "ObjectName": table}));
    assert_eq!((on("members").status, on("elsewhere").status), (201, 400));
    assert!(on("elsewhere").body.to_string().contains("definitions.unknown_tables"));
}
