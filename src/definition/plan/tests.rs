use std::cell::Cell;

use proptest::prelude::*;

use super::super::{DefinitionChanges, FieldType, rules, rules::EventSlots, samples};
use super::*;

const FILE: &str = "
Webhooks:
- Name: Customers
  Description: |
    Two
    lines.
  OutgoingUrls: [https://a.example/1, https://b.example/]
  CallThrottling: 10
  Events:
  - EventType: table.recordUpdate
    ObjectName: MyCustomers
    ObjectFields: [First_Name, Last_Name]
    EventSources: [Datasheets, DataPages]
    CustomPayloadFields: [First_Name, Last_Name]
  - EventType: table.recordInsert
    ObjectName: Admins
    CustomPayloadTemplate: |
      {'@type':'MessageCard'}
- Account: zoo
  Name: Customers
  OutgoingUrls: [https://c.example/]
  Secret: ${ZOO_SECRET}
  Headers: {X-Key: '${file:/run/zoo}'}
";

const ZOO_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn try_apply(definitions: &Definitions, file: &str, prune: bool) -> Result<Plan, Problems> {
    try_apply_where(&|_, _| Some(Vec::new()), definitions, file, prune)
}

/// Plans a file with these fields as shown by the stream.
fn try_apply_where(
    seen: &SeenFields<'_>,
    definitions: &Definitions,
    file: &str,
    prune: bool,
) -> Result<Plan, Problems> {
    let count = Cell::new(0_u8);
    let random = |bytes: &mut [u8]| {
        count.set(count.get() + 1);
        bytes.fill(count.get());
    };
    let terms = ApplyContext {
        account: Some(&"acme".into()),
        prune,
        policy: &Policy::default(),
        seen_fields: seen,
        stamp: &samples::stamp(),
        read_secret: &|reference| match reference {
            SecretReference::Variable("ZOO_SECRET") | SecretReference::File("/run/zoo") => Ok(ZOO_SECRET.to_owned()),
            SecretReference::Variable(name) => Err(SecretError::Variable(name.to_owned())),
            SecretReference::File(path) => panic!("{path}"),
        },
        random: &random,
    };
    plan(definitions, &DefinitionFile::parse(file).unwrap(), &terms)
}

fn carry_out(definitions: &mut Definitions, plan: &Plan) {
    for record in plan.records() {
        let key = record.key.to_string();
        definitions.apply(key.as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
    }
}

/// The state after a file is applied to an empty installation, with nothing known about the stream.
fn applied(file: &str) -> Definitions {
    let mut definitions = Definitions::default();
    let plan = try_apply_where(&|_, _| None, &definitions, file, false).unwrap();
    carry_out(&mut definitions, &plan);
    definitions
}

fn problems(definitions: &Definitions, file: &str) -> Vec<String> {
    try_apply(definitions, file, false).unwrap_err().to_string().lines().map(str::to_owned).collect()
}

#[test]
fn applying_a_file_twice_changes_nothing_the_second_time() {
    let definitions = applied(FILE);
    assert_eq!((definitions.webhooks().len(), definitions.events().len()), (2, 2));
    assert_eq!(try_apply(&definitions, FILE, true).unwrap(), Plan::default());

    let zoo = definitions.webhooks_named(&"zoo".into(), "Customers").next().unwrap();
    assert_eq!(zoo.secret.expose(), ZOO_SECRET);
    assert_eq!(zoo.handling.headers["X-Key"].0, ZOO_SECRET);
    let acme = definitions.webhooks_named(&"acme".into(), "Customers").next().unwrap();
    assert_eq!(acme.description.as_deref(), Some("Two\nlines.\n"));
    assert_eq!(definitions.events_of(acme.id).count(), 2);
}

#[test]
fn changed_definitions_keep_id_secret_and_creation_stamp() {
    let mut definitions = applied(FILE);
    let before = definitions.webhooks_named(&"acme".into(), "Customers").next().unwrap().clone();
    let file = FILE
        .replace("CallThrottling: 10", "CallThrottling: 20")
        .replace("ObjectFields: [First_Name, Last_Name]", "ObjectFields: [Last_Name, First_Name]")
        .replace("'MessageCard'", "'Card'");
    let plan = try_apply(&definitions, &file, false).unwrap();
    assert_eq!(plan.webhooks.len(), 1);
    assert!(!plan.webhooks[0].secret_generated);
    assert!(plan.webhooks[0].events.iter().all(|change| matches!(change, Change::Update { .. })));
    carry_out(&mut definitions, &plan);
    let after = definitions.webhook(before.id).unwrap();
    let expected = Webhook { call_throttling: Some(20), version: 2, modified: Some(samples::stamp()), ..before };
    assert_eq!(*after, expected);
    assert_eq!((definitions.webhooks().len(), definitions.events().len()), (2, 2));
    assert!(try_apply(&definitions, &file, true).unwrap().is_empty());
}

#[test]
fn unnamed_webhooks_are_deleted_only_by_prune_and_within_the_account() {
    let mut definitions = applied(FILE);
    let file = "Webhooks:\n- Name: New\n  OutgoingUrls: [https://a.example/]\n";
    let plan = try_apply(&definitions, file, false).unwrap();
    assert_eq!((plan.webhooks.len(), plan.unnamed_count), (1, 1));
    assert!(plan.webhooks[0].secret_generated);

    let plan = try_apply(&definitions, file, true).unwrap();
    carry_out(&mut definitions, &plan);
    let names: Vec<_> = definitions.webhooks().map(|webhook| (webhook.account.as_str(), &*webhook.name)).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&("acme", "New")) && names.contains(&("zoo", "Customers")));
    assert_eq!(definitions.events().len(), 0);
}

#[test]
fn pruning_an_event_makes_room_for_a_conflicting_one() {
    let definitions = applied(FILE);
    let file = FILE.replace("    ObjectFields: [First_Name, Last_Name]\n", "");
    let refused = problems(&definitions, &file);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("one for all fields or several"), "{refused:?}");
    let plan = try_apply(&definitions, &file, true).unwrap();
    assert!(matches!(plan.webhooks[0].events[..], [Change::Delete(_), Change::Create(_)]));
}

#[test]
fn all_problems_of_webhooks_are_reported_with_their_lines() {
    let file = "
Webhooks:
- Name: A
  OutgoingUrls: [https://a.example/]
  Events:
  - {EventType: table.recordUpdate, ObjectName: T, ObjectFields: [a]}
  - {EventType: table.recordUpdate, ObjectName: T}
  - {EventType: table.recordUpsert, ObjectName: T}
  - {EventType: table.recordInsert, ObjectName: T, CustomPayloadTemplate: nonsense}
  - {EventType: table.recordDelete, ObjectName: T}
  - {EventType: table.recorddelete, ObjectName: T}
- Name: A
  OutgoingUrls: [https://a.example/]
- Name: B
  OutgoingUrls: [http://b.example/]
- Name: C
  OutgoingUrls: [https://c.example/]
  Secret: ${NOWHERE}
- Name: D
  OutgoingUrls: [https://d.example/]
  Secret: whsec_dG9vIHNob3J0
";
    let problems = problems(&Definitions::default(), file);
    let expected = [
        "line 7, column 5: event table.recordUpdate of \"T\": the webhook has a table.recordUpdate event on \"T\"",
        "line 8, column 5: event table.recordUpsert of \"T\": EventType \"table.recordUpsert\" is unknown",
        "line 9, column 5: event table.recordInsert of \"T\": CustomPayloadTemplate: line 1, column 1",
        "line 11, column 5: event table.recorddelete of \"T\": the file has it on line 10 already",
        "line 12, column 3: webhook \"A\": the file has it on line 3 already",
        "line 14, column 3: webhook \"B\": OutgoingUrls: \"http://b.example/\" is http",
        "line 16, column 3: webhook \"C\": Secret: environment variable NOWHERE is not set, or is not UTF-8",
        "line 19, column 3: webhook \"D\": Secret: a secret is whsec_",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
    assert!(problems[0].contains("the file's event on line 6 would be"), "{}", problems[0]);
    assert!(!problems[7].contains("dG9v"));
}

#[test]
fn events_are_validated_against_the_planned_tables() {
    let event = |field: &str| {
        format!(
            "Webhooks:\n- Name: A\n  OutgoingUrls: [https://a.example/]\n  Events:\n  - {{EventType: \
             table.recordInsert, ObjectName: T, CustomPayloadFields: [{field}]}}\n"
        )
    };
    let table = |account: &str, field: &str| {
        format!("Tables:\n- {{Account: {account}, Name: T, Fields: [{{Name: {field}, Type: STRING}}]}}\n")
    };
    let nothing = Definitions::default();
    let file = event("Emial") + &table("acme", "Email");
    let start = "line 5, column 5: event table.recordInsert of \"T\": CustomPayloadFields: table \"T\" has no \
                 field \"Emial\" (the nearest is \"Email\")";
    let told = problems(&nothing, &file);
    assert!(told.len() == 1 && told[0].starts_with(start), "{told:#?}");
    let seen =
        |account: &AccountId, _: &str| Some(vec![if account.as_str() == "acme" { "Emial" } else { "" }.to_owned()]);
    assert!(try_apply_where(&seen, &nothing, &file, false).is_ok(), "the stream has shown it");
    assert!(try_apply(&nothing, &(event("Emial") + &table("zoo", "Email")), false).is_ok(), "another account's");

    let definitions = applied(&file);
    assert!(try_apply(&definitions, &file, false).unwrap().is_empty(), "what is there stays");
    let other = event("Mail");
    assert!(problems(&definitions, &other)[0].contains("no field \"Mail\" (the nearest is \"Email\")"));
    assert!(try_apply(&definitions, &(other.clone() + &table("acme", "Mail")), false).is_ok(), "declared again");
    let without = other + "Tables:\n- {Account: acme, Name: U, Fields: []}\n";
    assert!(try_apply(&definitions, &without, true).is_ok(), "its declaration is deleted");
}

#[test]
fn new_ids_do_not_collide_with_existing_ones() {
    let mut definitions = applied("Webhooks:\n- Name: A\n  OutgoingUrls: [https://a.example/]\n");
    let more =
        "Webhooks:\n- Name: B\n  OutgoingUrls: [https://a.example/]\n- Name: C\n  OutgoingUrls: [https://a.example/]\n";
    let plan = try_apply(&definitions, more, false).unwrap();
    carry_out(&mut definitions, &plan);
    assert_eq!(definitions.webhooks().len(), 3);
}

const TABLES: &str = "
Tables:
- Name: MyCustomers
  Fields:
  - {Name: Password, Type: password, Label: Secret word}
  - {Name: Email, Type: Text, Unique: true, Required: true}
  - {Name: Id, Type: RANDOM ID, Description: Made by itself, Editable: false}
- Account: zoo
  Name: MyCustomers
  Fields: []
";

#[test]
fn a_table_is_declared_changed_kept_and_pruned_like_a_webhook() {
    let mut definitions = applied(TABLES);
    let acme = AccountId::from("acme");
    let before = definitions.table(&acme, "MyCustomers").unwrap().clone();
    let [password, email, id] = &before.fields[..] else { panic!("three fields") };
    assert_eq!((password.kind, password.label.as_deref()), (FieldType::Password, Some("Secret word")));
    assert_eq!((email.unique, email.required, email.editable, id.editable), (true, true, true, false));
    assert!(try_apply(&definitions, TABLES, true).unwrap().is_empty());

    let file = TABLES.replace("Type: password", "Type: STRING");
    let plan = try_apply(&definitions, &file, false).unwrap();
    assert!(matches!(plan.tables[..], [Change::Update { .. }]) && plan.webhooks.is_empty());
    carry_out(&mut definitions, &plan);
    let after = definitions.table(&acme, "MyCustomers").unwrap();
    assert_eq!((after.version, &after.modified, after.id), (2, &Some(samples::stamp()), before.id));
    assert_eq!(after.passwords().count(), 0);

    let webhooks = "Webhooks:\n- Name: Only\n  OutgoingUrls: [https://a.example/]\n";
    let plan = try_apply(&definitions, webhooks, true).unwrap();
    assert!(plan.tables.is_empty() && plan.unnamed_count == 1, "a file without tables is not about them");

    let other = "Tables:\n- Name: Other\n  Fields: []\n";
    let plan = try_apply(&definitions, other, false).unwrap();
    assert_eq!((plan.tables.len(), plan.unnamed_count), (1, 1));
    let plan = try_apply(&definitions, other, true).unwrap();
    assert!(matches!(plan.tables[..], [Change::Create(_), Change::Delete(_)]) && plan.unnamed_count == 0);
    carry_out(&mut definitions, &plan);
    let names =
        |account: &str| definitions.tables_of(&account.into()).map(|table| table.name.clone()).collect::<Vec<_>>();
    assert_eq!((names("acme"), names("zoo")), (vec!["Other".to_owned()], vec!["MyCustomers".to_owned()]));
}

#[test]
fn all_problems_of_tables_are_reported_with_their_lines() {
    let long = "x".repeat(256);
    let many: String = (0..1001).map(|n| format!("{{Name: f{n}, Type: TEXT}}, ")).collect();
    let large: String =
        (0..30).map(|n| format!("{{Name: f{n}, Type: TEXT, Description: {}}}, ", "x".repeat(9_999))).collect();
    let file = format!(
        "
Tables:
- Name: A
  Fields:
  - {{Name: a, Type: PASWORD}}
  - {{Name: b, Type: TEXT}}
  - {{Name: b, Type: TEXT}}
  - {{Name: ' ', Type: TEXT}}
  - {{Name: {long}, Type: TEXT}}
  - {{Name: c, Type: TEXT, Label: {long}}}
- Name: A
  Fields: []
- Name: ''
  Fields: []
- Name: Many
  Fields: [{many}]
- Name: Large
  Fields: [{large}]
"
    );
    let problems = problems(&Definitions::default(), &file);
    let expected = [
        "line 5, column 5: field \"a\" of table \"A\": Type: \"PASWORD\" is not a field type: use STRING, TEXT, PASSWORD",
        "line 7, column 5: field \"b\" of table \"A\": the file has it on line 6 already",
        "line 8, column 5: field \" \" of table \"A\": Name is required",
        &format!("line 9, column 5: field \"{long}\" of table \"A\": Name has 256 characters"),
        "line 10, column 5: field \"c\" of table \"A\": Label has 256 characters",
        "line 11, column 3: table \"A\": the file has it on line 3 already",
        "line 13, column 3: table \"\": Name is required",
        "line 15, column 3: table \"Many\": Fields has 1001 fields, and at most 1000",
        "line 17, column 3: table \"Large\": Fields has 300050 bytes of names, labels and descriptions",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// `apply` finds no change in the output of `get`, whatever the texts. On an empty installation the output makes
    /// the same definitions again, if the stream has shown the fields that declared tables omit.
    #[test]
    fn printed_definitions_apply_without_changes(
        webhooks in proptest::collection::vec(samples::any_webhook(), 0..4),
        tables in proptest::collection::vec(samples::any_table(), 0..4),
        events in proptest::collection::vec(samples::any_event(), 0..12),
        show_secrets in any::<bool>(),
    ) {
        let mut definitions = Definitions::default();
        let mut changes = DefinitionChanges::default();
        for webhook in &webhooks {
            if rules::unique_name(webhook, &super::super::PendingDefinitions::new(&definitions)).is_ok() {
                let record = LogRecord::webhook(webhook);
                definitions.apply(record.key.to_string().as_bytes(), record.value.as_deref(), &mut changes).unwrap();
            }
        }
        for table in &tables {
            let record = LogRecord::table(table);
            definitions.apply(record.key.to_string().as_bytes(), record.value.as_deref(), &mut changes).unwrap();
        }
        for event in &events {
            let mut places = EventSlots::default();
            let stand: Vec<Event> =
                definitions.events_of(event.webhook).filter(|other| other.id != event.id).cloned().collect();
            stand.iter().for_each(|other| places.claim(other).unwrap());
            let moved = definitions.event(event.id).is_some_and(|before| before.webhook != event.webhook);
            if definitions.webhook(event.webhook).is_some() && !moved && places.claim(event).is_ok() {
                let record = LogRecord::event(event);
                definitions.apply(record.key.to_string().as_bytes(), record.value.as_deref(), &mut changes).unwrap();
            }
        }
        let printed = DefinitionFile::of(&definitions, None, show_secrets).to_yaml();
        let again = try_apply(&definitions, &printed, true);
        prop_assert!(again.as_ref().is_ok_and(|plan| *plan == Plan::default()), "{again:?}\n{printed}");

        let anew = applied(&printed);
        let reprinted = |definitions: &Definitions| {
            let mut file = DefinitionFile::of(definitions, None, show_secrets);
            // Events are printed in the order of their ids, which are new.
            file.webhooks.iter_mut().for_each(|webhook| webhook.value.events.sort_by_key(|event| format!("{event:?}")));
            file
        };
        prop_assert_eq!(reprinted(&anew), reprinted(&definitions));
    }
}

#[test]
fn hidden_value_in_a_file_must_be_given_again_for_a_new_origin() {
    let file = "Webhooks:\n- Name: New\n  OutgoingUrls: [https://a.example/]\n  Headers: {X-Key: s3cret}\n";
    let definitions = applied(file);
    let hidden = file.replace("s3cret", "…");
    assert!(try_apply(&definitions, &hidden, false).unwrap().is_empty());
    assert!(try_apply(&definitions, &hidden.replace("example/", "example/other"), false).is_ok());
    let found = problems(&definitions, &hidden.replace("a.example", "evil.example"));
    assert!(found[0].starts_with("line 2, column 3: webhook \"New\": The value of \"X-Key\" in Headers"), "{found:?}");
    assert!(try_apply(&definitions, &file.replace("a.example", "evil.example"), false).is_ok(), "it is given again");
}

#[test]
fn file_with_a_refused_address_is_rejected() {
    let found = problems(&Definitions::default(), &FILE.replace("https://c.example/", "https://127.1/"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("OutgoingUrls: \"https://127.1/\" leads to 127.0.0.1, which is a loopback"), "{found:?}");
}
