use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::samples::{self, event, table, webhook};
use super::super::{FieldType, LogRecord, VERSION};
use super::*;
use crate::vocabulary::Operation;

type Raw = (String, Option<Vec<u8>>);

fn raw(record: LogRecord) -> Raw {
    (record.key.to_string(), record.value)
}

fn built(records: &[Raw]) -> Definitions {
    let mut definitions = Definitions::default();
    for (key, value) in records {
        let _ = definitions.apply(key.as_bytes(), value.as_deref(), &mut DefinitionChanges::default());
    }
    definitions
}

/// Applies one record and returns the tables whose rules may have changed.
fn apply(definitions: &mut Definitions, record: LogRecord) -> Vec<String> {
    let mut changes = DefinitionChanges::default();
    let (key, value) = raw(record);
    definitions.apply(key.as_bytes(), value.as_deref(), &mut changes).unwrap();
    changes.tables.into_iter().map(|key| format!("{}/{}", key.account, key.table)).collect()
}

fn active(definitions: &Definitions, table: &str) -> Vec<String> {
    let key = TableKey { account: "acme".into(), table: table.to_owned() };
    definitions.active_events(&key).map(|(webhook, event)| format!("{}>{}", webhook.id, event.id)).collect()
}

#[test]
fn event_without_its_webhook_is_an_orphan() {
    let mut definitions = Definitions::default();
    let insert = event("event1", "hook01", Operation::Insert, "T", &[]);
    assert!(apply(&mut definitions, LogRecord::event(&insert)).is_empty());
    assert_eq!(definitions.orphans().collect::<Vec<_>>(), [&insert]);

    assert_eq!(apply(&mut definitions, LogRecord::webhook(&webhook("hook01", "A"))), ["acme/T"]);
    assert_eq!(active(&definitions, "T"), ["hook01>event1"]);
    assert_eq!(definitions.orphans().count(), 0);

    assert_eq!(
        apply(&mut definitions, LogRecord::deletion(DefinitionKey::Webhook("hook01".parse().unwrap()))),
        ["acme/T"]
    );
    assert!(active(&definitions, "T").is_empty());
    assert_eq!(definitions.orphans().count(), 1);
}

#[test]
fn only_enabled_events_of_enabled_webhooks_are_active() {
    let mut hook = webhook("hook01", "A");
    let mut insert = event("event1", "hook01", Operation::Insert, "T", &[]);
    let mut definitions = built(&[raw(LogRecord::webhook(&hook)), raw(LogRecord::event(&insert))]);

    insert.enabled = false;
    assert_eq!(apply(&mut definitions, LogRecord::event(&insert)), ["acme/T"]);
    assert!(active(&definitions, "T").is_empty());

    insert.enabled = true;
    hook.enabled = false;
    apply(&mut definitions, LogRecord::event(&insert));
    assert_eq!(apply(&mut definitions, LogRecord::webhook(&hook)), ["acme/T"]);
    assert!(active(&definitions, "T").is_empty());
}

#[test]
fn moved_events_change_both_tables_and_unchanged_records_none() {
    let mut hook = webhook("hook01", "A");
    let mut insert = event("event1", "hook01", Operation::Insert, "T", &[]);
    let mut definitions = built(&[raw(LogRecord::webhook(&hook)), raw(LogRecord::event(&insert))]);
    assert!(apply(&mut definitions, LogRecord::event(&insert)).is_empty());
    assert!(apply(&mut definitions, LogRecord::webhook(&hook)).is_empty());

    insert.object_name = "U".to_owned();
    assert_eq!(apply(&mut definitions, LogRecord::event(&insert)), ["acme/T", "acme/U"]);
    hook.account = "zoo".into();
    assert_eq!(apply(&mut definitions, LogRecord::webhook(&hook)), ["acme/U", "zoo/U"]);
    assert_eq!(definitions.tables().count(), 1);
}

#[test]
fn webhook_name_is_free_as_soon_as_the_webhook_is_renamed() {
    let mut definitions = built(&[raw(LogRecord::webhook(&webhook("hook01", "A")))]);
    apply(&mut definitions, LogRecord::webhook(&webhook("hook01", "B")));
    let account = AccountId::from("acme");
    assert_eq!(definitions.webhooks_named(&account, "A").count(), 0);
    assert_eq!(definitions.webhooks_named(&account, "B").count(), 1);
    assert_eq!(definitions.webhooks_of(&account).count(), 1);
}

#[test]
fn invalid_records_are_rejected_with_the_reason_and_others_are_kept() {
    let good = String::from_utf8(LogRecord::webhook(&webhook("hook01", "A")).value.unwrap()).unwrap();
    let cases = [
        ("webhook", "{}", "not text of the form kind/id"),
        ("", "{}", "not text of the form kind/id"),
        ("webhook/Hook01", &good, "\"Hook01\" is not an id"),
        ("webhook/hook02", &good, "holds the id hook01"),
        ("webhook/hook01", "", "EOF"),
        ("webhook/hook01", "[]", "expected an object with the version"),
        ("webhook/hook01", r#"{"v":1,"urls":"whsec_a"}"#, r#"string "…", expected a sequence"#),
        ("webhook/hook01", r#"{"v":1,"handling":{"headers":"X: \"s3cret"}}"#, r#"string "…", expected a map"#),
        ("webhook/hook01", r#"{"v":1,"handling":{"authentication":"B s3cret`, expected"}}"#, "variant `…`, expected"),
        ("webhook/hook01", "{}", "no version"),
        ("webhook/hook01", r#"{"v":2,"urls":{}}"#, "a newer program wrote it"),
        ("webhook/hook01", r#"{"v":1,"id":"hook01"}"#, "missing field"),
        ("webhook/hook01", &good.replace("whsec_", "whsex_"), "a secret is whsec_"),
        ("event/event1", &good.replace("hook01", "event1"), "missing field `webhook`"),
    ];
    for (key, value, reason) in cases {
        let mut definitions = built(&[("webhook/hook01".to_owned(), Some(good.clone().into_bytes()))]);
        let error =
            definitions.apply(key.as_bytes(), Some(value.as_bytes()), &mut DefinitionChanges::default()).unwrap_err();
        assert!(error.to_string().contains(reason), "{key} {value}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(error.to_string().contains(&format!("{key:?}")), "{error}");
        let replaced = key == "webhook/hook01";
        assert_eq!(definitions.webhooks().len(), usize::from(!replaced), "{key} {value}");
    }
    assert!(Definitions::default().apply(b"webhook/\xff\xff", Some(b"{}"), &mut DefinitionChanges::default()).is_err());
}

#[test]
fn unknown_kinds_and_fields_of_newer_programs_are_ignored() {
    let mut definitions = Definitions::default();
    let mut changes = DefinitionChanges::default();
    assert_eq!(definitions.apply(b"account/x", Some(b"?"), &mut changes).unwrap(), ApplyOutcome::Ignored);
    let value = String::from_utf8(LogRecord::webhook(&webhook("hook01", "A")).value.unwrap()).unwrap();
    assert!(value.starts_with(&format!("{{\"v\":{VERSION},\"id\":\"hook01\"")), "{value}");
    let value = value.replacen('{', "{\"colour\":{\"new\":[1]},", 1);
    assert_eq!(
        definitions.apply(b"webhook/hook01", Some(value.as_bytes()), &mut changes).unwrap(),
        ApplyOutcome::Applied
    );
    assert_eq!(definitions.webhook("hook01".parse().unwrap()), Some(&webhook("hook01", "A")));
}

#[test]
fn a_declared_table_is_found_by_account_and_name_until_it_is_deleted() {
    let mut definitions = Definitions::default();
    let (acme, zoo) = (AccountId::from("acme"), AccountId::from("zoo"));
    let mut orders = table("Orders", &[("Card", FieldType::Password), ("Total", FieldType::Currency)]);
    let mut changes = DefinitionChanges::default();
    let mut put = |definitions: &mut Definitions, record: LogRecord| {
        changes = DefinitionChanges::default();
        let (key, value) = raw(record);
        definitions.apply(key.as_bytes(), value.as_deref(), &mut changes).unwrap();
        changes.declarations.iter().map(|key| format!("{}/{}", key.account, key.table)).collect::<Vec<_>>()
    };
    assert_eq!(put(&mut definitions, LogRecord::table(&orders)), ["acme/Orders"]);
    assert!(put(&mut definitions, LogRecord::table(&orders)).is_empty(), "nothing has changed");
    assert_eq!(put(&mut definitions, LogRecord::table(&table("Admins", &[]))), ["acme/Admins"]);
    assert_eq!(definitions.table(&acme, "Orders"), Some(&orders));
    assert!(definitions.table(&zoo, "Orders").is_none() && definitions.table(&acme, "orders").is_none());
    assert_eq!(definitions.tables_of(&acme).map(|table| &*table.name).collect::<Vec<_>>(), ["Admins", "Orders"]);

    orders.fields.pop();
    assert_eq!(put(&mut definitions, LogRecord::table(&orders)), ["acme/Orders"]);
    assert_eq!(definitions.table(&acme, "Orders").unwrap().passwords().collect::<Vec<_>>(), ["Card"]);
    assert_eq!(put(&mut definitions, LogRecord::deletion(DefinitionKey::Table(orders.id))), ["acme/Orders"]);
    assert!(definitions.table(&acme, "Orders").is_none());
    assert_eq!((definitions.declared().len(), definitions.tables_of(&acme).count()), (1, 1));
}

#[test]
fn table_record_with_a_foreign_id_or_unknown_type_is_rejected() {
    let orders = table("Orders", &[("Card", FieldType::Password)]);
    let value = String::from_utf8(LogRecord::table(&orders).value.unwrap()).unwrap();
    assert!(value.contains(r#""fields":[{"name":"Card","type":"PASSWORD"}],"version":1"#), "{value}");
    let (key, other) = (DefinitionKey::Table(orders.id).to_string(), table("Admins", &[]).id);
    let cases = [
        (
            key.clone(),
            value.replace("\"acme\"", "\"zoo\""),
            "its id is not that of table \"Orders\" of account \"zoo\"",
        ),
        (DefinitionKey::Table(other).to_string(), value.clone(), "which is not the key's"),
        (key.clone(), value.replace("PASSWORD", "SECRET"), "\"SECRET\" is not a field type"),
        ("table/short".to_owned(), value.clone(), "16 characters"),
    ];
    for (key, value, reason) in cases {
        let mut definitions = built(&[raw(LogRecord::table(&orders))]);
        let error =
            definitions.apply(key.as_bytes(), Some(value.as_bytes()), &mut DefinitionChanges::default()).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

fn any_record() -> impl Strategy<Value = Raw> {
    prop_oneof![
        4 => samples::any_webhook().prop_map(|webhook| raw(LogRecord::webhook(&webhook))),
        8 => samples::any_event().prop_map(|event| raw(LogRecord::event(&event))),
        4 => samples::any_table().prop_map(|table| raw(LogRecord::table(&table))),
        2 => samples::any_table().prop_map(|table| raw(LogRecord::deletion(DefinitionKey::Table(table.id)))),
        1 => samples::any_table().prop_map(|table| (DefinitionKey::Table(table.id).to_string(), Some(b"{}".to_vec()))),
        1 => samples::webhook_id().prop_map(|id| raw(LogRecord::deletion(DefinitionKey::Webhook(id)))),
        2 => samples::event_id().prop_map(|id| raw(LogRecord::deletion(DefinitionKey::Event(id)))),
        1 => samples::webhook_id().prop_map(|id| (DefinitionKey::Webhook(id).to_string(), Some(b"{\"v\":9}".to_vec()))),
        1 => samples::event_id().prop_map(|id| (DefinitionKey::Event(id).to_string(), Some(b"garbage".to_vec()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The indexes of a state do not depend on how it was reached. So compaction, removed tombstones and another
    /// order of the keys give the same state.
    #[test]
    fn state_depends_only_on_the_last_record_of_each_key(
        records in proptest::collection::vec(any_record(), 0..40),
        order in any::<prop::sample::Index>(),
        backwards in any::<bool>(),
    ) {
        let last: BTreeMap<_, _> = records.iter().cloned().collect();
        let mut compacted: Vec<Raw> = last.into_iter().filter(|(_, value)| value.is_some()).collect();
        if backwards {
            compacted.reverse();
        }
        if !compacted.is_empty() {
            let turn = order.index(compacted.len());
            compacted.rotate_left(turn);
        }
        prop_assert_eq!(built(&records), built(&compacted));
    }

    /// Replacing the rules of the tables that are named after each record gives the rules of the whole state.
    #[test]
    fn changes_of_a_tables_events_or_declaration_are_reported(records in proptest::collection::vec(any_record(), 0..40)) {
        let mut definitions = Definitions::default();
        type Rules = Vec<(Webhook, Event, Option<Table>)>;
        let mut followed: BTreeMap<TableKey, Rules> = BTreeMap::new();
        let rules = |definitions: &Definitions, table: &TableKey| -> Rules {
            let declared = definitions.table(&table.account, &table.table);
            let rule = |(webhook, event): (&Webhook, &Event)| (webhook.clone(), event.clone(), declared.cloned());
            definitions.active_events(table).map(rule).collect()
        };
        for (key, value) in &records {
            let mut changes = DefinitionChanges::default();
            let _ = definitions.apply(key.as_bytes(), value.as_deref(), &mut changes);
            for table in changes.tables.union(&changes.declarations) {
                followed.insert(table.clone(), rules(&definitions, table));
            }
        }
        followed.retain(|_, rules| !rules.is_empty());
        let whole: BTreeMap<_, _> = definitions
            .tables()
            .map(|table| (table.clone(), rules(&definitions, table)))
            .filter(|(_, rules)| !rules.is_empty())
            .collect();
        prop_assert_eq!(followed, whole);
    }
}
