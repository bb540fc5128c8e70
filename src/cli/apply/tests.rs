use std::cell::Cell;

use super::*;
use crate::definition::{DefinitionChanges, samples};

const FILE: &str = "
Webhooks:
- Name: Orders
  OutgoingUrls: [https://a.example/]
  Events:
  - EventType: table.recordInsert
    ObjectName: Admins
    CustomPayloadTemplate: |-
      {
        'a': '[@field:A]',
        'b': 1
      }
  - EventType: table.recordDelete
    ObjectName: Admins
";

fn plan_of(definitions: &Definitions, file: &str, prune: bool) -> Plan {
    let count = Cell::new(0_u8);
    let random = |bytes: &mut [u8]| {
        count.set(count.get() + 1);
        bytes.fill(count.get());
    };
    let terms = ApplyContext {
        account: Some(&"acme".into()),
        prune,
        policy: &Policy::default(),
        seen_fields: &|_, _| Some(Vec::new()),
        stamp: &samples::stamp(),
        read_secret: &crate::cli::read_secret,
        random: &random,
    };
    plan(definitions, &DefinitionFile::parse(file).unwrap(), &terms).unwrap()
}

fn after(plan: &Plan) -> Definitions {
    let mut definitions = Definitions::default();
    for record in plan.records() {
        let key = record.key.to_string();
        definitions.apply(key.as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
    }
    definitions
}

#[test]
fn created_webhook_is_shown_and_its_secret_only_after_the_apply() {
    let plan = plan_of(&Definitions::default(), FILE, false);
    let shown = report(&plan, true, false, false);
    assert_eq!(
        shown,
        "+ webhook \"Orders\" in account \"acme\"\n\
         +   OutgoingUrls: [\"https://a.example/\"]\n\
         +   event table.recordInsert of \"Admins\"\n\
         +     CustomPayloadTemplate:\n\
         +       {\n\
         +         'a': '[@field:A]',\n\
         +         'b': 1\n\
         +       }\n\
         +   event table.recordDelete of \"Admins\"\n\
         would be applied: 3 created, 0 changed, 0 deleted\n"
    );
    let Change::Create(webhook) = &plan.webhooks[0].webhook else { panic!("it is new") };
    let secret = format!("secret of webhook \"Orders\": {}\n", webhook.secret.expose());
    assert!(report(&plan, false, false, false).ends_with(&secret));
}

#[test]
fn changes_are_shown_as_a_line_diff_with_colours_only_on_terminals() {
    let definitions = after(&plan_of(&Definitions::default(), FILE, false));
    let file = FILE.replace("'b': 1", "'b': 2").replace(
        "  Events:",
        "  Description: \"\\e[2J\"\n  CallThrottling: 5\n  Secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n  Events:",
    );
    let file = file.split("  - EventType: table.recordDelete").next().unwrap();
    let plan = plan_of(&definitions, file, true);
    assert_eq!(
        report(&plan, false, false, false),
        "~ webhook \"Orders\" in account \"acme\"\n\
         +   Description: \\u{1b}[2J\n\
         +   CallThrottling: 5\n\
         ~   Secret: changed\n\
         -   event table.recordDelete of \"Admins\"\n\
         ~   event table.recordInsert of \"Admins\"\n\
         ~     CustomPayloadTemplate:\n\
         -         'b': 1\n\
         +         'b': 2\n\
         applied: 0 created, 2 changed, 1 deleted\n"
    );
    assert!(report(&plan, false, false, true).contains("\x1b[31m-   event table.recordDelete of \"Admins\"\x1b[0m\n"));
}

#[test]
fn delivery_settings_are_shown_with_secrets_hidden() {
    let file = |settings: &str| FILE.replace("  Events:", &format!("{settings}\n  Events:"));
    let before = file(
        "  Timeout: 7\n  RetrySchedule: [1, 5]\n  Headers: {X-Key: s3cret}\n  \
         Authentication: {Bearer: {Token: s3cret}}",
    );
    let definitions = after(&plan_of(&Definitions::default(), &before, false));
    let created = report(&plan_of(&Definitions::default(), &before, false), true, false, false);
    let lines = "+   Timeout: 7\n\
                 +   RetrySchedule: [1, 5]\n\
                 +   Headers: {\"X-Key\":\"…\"}\n\
                 +   Authentication: {\"Bearer\":{\"Token\":\"…\"}}\n";
    assert!(created.contains(lines), "{created}");
    let changed = file(
        "  Headers: {X-Key: s3cret, X-Other: s3cret}\n  Authentication: {Bearer: {Token: s3cret-2}}\n  \
         PayloadSecret: false\n  Order: rowkey",
    );
    assert_eq!(
        report(&plan_of(&definitions, &changed, false), true, false, false),
        "~ webhook \"Orders\" in account \"acme\"\n\
         -   Timeout: 7\n\
         -   RetrySchedule: [1, 5]\n\
         -   Headers: {\"X-Key\":\"…\"}\n\
         +   Headers: {\"X-Key\":\"…\",\"X-Other\":\"…\"}\n\
         +   PayloadSecret: false\n\
         +   Order: RowKey\n\
         ~   Authentication: changed\n\
         would be applied: 0 created, 1 changed, 0 deleted\n"
    );
}

#[test]
fn empty_plan_says_nothing_to_change_and_counts_unnamed_definitions() {
    let definitions = after(&plan_of(&Definitions::default(), FILE, false));
    assert_eq!(report(&plan_of(&definitions, FILE, true), false, false, false), "nothing to change\n");
    let less = FILE.split("  - EventType: table.recordDelete").next().unwrap();
    let shown = report(&plan_of(&definitions, less, false), false, false, false);
    assert_eq!(shown, "nothing to change\nunchanged, because the file does not name them: 1 (--prune deletes them)\n");
}

#[test]
fn the_time_has_seven_decimals() {
    let now = crate::cli::stamp("me").at;
    assert_eq!((now.len(), &now[19..20], &now[27..]), ("2023-05-17T12:45:27.5286883Z".len(), ".", "Z"), "{now}");
}

#[test]
fn a_declared_table_is_shown_field_by_field() {
    let file = "
Tables:
- Name: T
  Fields:
  - {Name: a, Type: PASSWORD, Required: true, Label: \"L\\e\"}
  - {Name: b, Type: TEXT, Unique: true, Editable: false}
  - {Name: c, Type: TEXT}
";
    let made = plan_of(&Definitions::default(), file, false);
    assert_eq!(
        report(&made, false, false, false),
        "+ table \"T\" in account \"acme\"\n\
         +   field \"a\": PASSWORD, required, Label \"L\\u{1b}\"\n\
         +   field \"b\": TEXT, unique, not editable\n\
         +   field \"c\": TEXT\n\
         applied: 1 created, 0 changed, 0 deleted\n"
    );
    let definitions = after(&made);
    let changed = "
Tables:
- Name: T
  Fields:
  - {Name: c, Type: TEXT}
  - {Name: a, Type: TEXT}
  - {Name: d, Type: DATE/TIME}
";
    assert_eq!(
        report(&plan_of(&definitions, changed, false), true, false, false),
        "~ table \"T\" in account \"acme\"\n\
         -   field \"b\": TEXT, unique, not editable\n\
         -   field \"a\": PASSWORD, required, Label \"L\\u{1b}\"\n\
         +   field \"a\": TEXT\n\
         +   field \"d\": DATE/TIME\n\
         ~   Fields: order changed\n\
         would be applied: 0 created, 1 changed, 0 deleted\n"
    );
    let gone = report(&plan_of(&definitions, "Tables:\n- {Name: U, Fields: []}\n", true), false, false, false);
    assert!(gone.ends_with("- table \"T\" in account \"acme\"\napplied: 1 created, 0 changed, 1 deleted\n"), "{gone}");
}
