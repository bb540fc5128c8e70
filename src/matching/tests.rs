//! Matching, compared with an oracle and with [`explain`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::decode::{EventDate, Field, Identity, Row, RowChange, Sequence, UnknownChangePolicy, Value};
use crate::definition::{Event, Payload, TableKey, Webhook, samples};
use crate::id::{AccountId, EventId};
use crate::rules::{Rule, Target};
use crate::vocabulary::{EventSource, Operation};

fn webhook() -> Webhook {
    samples::webhook("hook01", "orders")
}

fn event(number: u32, operation: Operation, fields: &[&str]) -> Event {
    let id = EventId::from_random([0, 0, 0, (number >> 8) as u8 % 36, (number / 36) as u8 % 36, (number % 36) as u8]);
    samples::event(id.as_str(), "hook01", operation, "orders", fields)
}

fn row(fields: &[(&'static str, &'static str)]) -> Row<'static> {
    let value = |json: &'static str| match json {
        "unavailable" => Value { available: false, ..Value::new("\"__debezium_unavailable_value\"") },
        json => Value::new(json),
    };
    Row::new(fields.iter().map(|(name, json)| Field { name: (*name).into(), value: value(json) }).collect())
}

pub(super) fn change(
    operation: Operation,
    before: Option<&[(&'static str, &'static str)]>,
    after: Option<&[(&'static str, &'static str)]>,
) -> RowChange<'static> {
    RowChange {
        account: "acme".into(),
        table: "orders".into(),
        operation,
        source: None,
        event_date: EventDate { at: Timestamp::UNIX_EPOCH, fraction_digits: 0 },
        sequence: Sequence::Offset { partition: 0, offset: 0 },
        identity: Identity::ProducerId("1".into()),
        before: before.map(row),
        after: after.map(row),
        trimmed: false,
        unknown_change: UnknownChangePolicy::Fire,
    }
}

fn rules(events: &[Event]) -> TableRules {
    let webhook = webhook();
    let target = Arc::new(Target::of(&webhook).unwrap());
    let active = events.iter().filter(|event| event.enabled);
    TableRules::new(active.map(|event| Arc::new(Rule::compile(&webhook, event, &target).unwrap())).collect())
}

fn fired(events: &[Event], change: &RowChange<'_>) -> Vec<EventId> {
    rules(events).matches(change, &mut vec![99]).map(|rule| rule.event).collect()
}

/// Which of these fire: an event for all fields, one for `a`, one for `a` and `b`, one for `c`.
fn fired_updates(change: &RowChange<'_>) -> Vec<usize> {
    let events = [
        event(0, Operation::Update, &[]),
        event(1, Operation::Update, &["a"]),
        event(2, Operation::Update, &["b", "a"]),
        event(3, Operation::Update, &["c"]),
    ];
    let fired = fired(&events, change);
    (0..events.len()).filter(|at| fired.contains(&events[*at].id)).collect()
}

#[test]
fn update_fires_the_events_of_its_changed_fields() {
    use Operation::Update;
    for (before, after, expected) in [
        (&[("a", "1"), ("b", "2")][..], &[("a", "1"), ("b", "2")][..], &[][..]),
        (&[("a", "1"), ("b", "2")], &[("a", "2"), ("b", "2")], &[0, 1, 2]),
        (&[("a", "1"), ("b", "2")], &[("a", "2"), ("b", "3")], &[0, 1, 2]),
        (&[("a", "1"), ("b", "2")], &[("b", "3"), ("a", "1.0")], &[0, 2]),
        (&[("a", "1"), ("d", "2")], &[("a", "1"), ("d", "3")], &[0]),
        (&[("a", "1")], &[("a", "unavailable")], &[]),
        (&[("a", "unavailable")], &[("a", "1")], &[]),
        (&[("a", "1")], &[("c", "1")], &[]),
        (&[("a", "1"), ("c", "1")], &[("a", "null"), ("c", "2")], &[0, 1, 2, 3]),
    ] {
        assert_eq!(fired_updates(&change(Update, Some(before), Some(after))), expected, "{before:?} {after:?}");
    }
}

#[test]
fn unknown_change_setting_decides_without_the_old_row() {
    let mut update = change(Operation::Update, None, Some(&[("a", "1"), ("c", "unavailable")]));
    assert_eq!(fired_updates(&update), [0, 1, 2]);
    update.unknown_change = UnknownChangePolicy::Skip;
    assert_eq!(fired_updates(&update), [0]);
}

#[test]
fn json_columns_compare_by_their_content() {
    let mut update = change(Operation::Update, Some(&[("a", r#""{\"x\":1}""#)]), Some(&[("a", r#""{ \"x\": 1.0 }""#)]));
    assert_eq!(fired_updates(&update), [0, 1, 2]);
    update.after.as_mut().unwrap().fields[0].value.json_text = true;
    assert_eq!(fired_updates(&update), [0; 0]);
}

#[test]
fn events_fire_only_for_their_operation_and_sources() {
    let mut insert = event(0, Operation::Insert, &[]);
    insert.event_sources = vec!["datapages".to_owned(), "Datasheets".to_owned()];
    let delete = event(1, Operation::Delete, &[]);
    let events = [insert, delete];
    let mut row_change = change(Operation::Insert, None, Some(&[("a", "1")]));
    assert_eq!(fired(&events, &row_change), []);
    row_change.source = Some(EventSource::Tasks);
    assert_eq!(fired(&events, &row_change), []);
    row_change.source = Some(EventSource::Datasheet);
    assert_eq!(fired(&events, &row_change), [events[0].id]);
    assert_eq!(fired(&events, &change(Operation::Delete, Some(&[("a", "1")]), None)), [events[1].id]);
}

#[test]
fn the_index_finds_tables_by_borrowed_names() {
    let index = Index::default();
    let key = |table: &str| TableKey { account: AccountId::from("acme"), table: table.to_owned() };
    let table = rules(&[event(0, Operation::Insert, &[])]);
    index.replace(&key("orders"), table.rules().to_vec());
    assert_eq!(index.rules("acme", "orders").unwrap().rules().len(), 1);
    assert!(index.rules("acme", "order").is_none());
    assert!(index.rules("acmeo", "rders").is_none());
    index.replace(&key("orders"), Vec::new());
    assert!(index.rules("acme", "orders").is_none());
    assert_eq!(index.table_count(), 0);
}

#[test]
fn verdicts_say_why() {
    let says = |change: &RowChange<'_>, event: &Event| explain(change, [(&webhook(), event)])[0].to_string();
    let update = change(Operation::Update, Some(&[("a", "1"), ("b", "2")]), Some(&[("a", "1"), ("b", "3")]));
    let blind = change(Operation::Update, None, Some(&[("a", "1"), ("b", "3")]));
    let mut skipping = change(Operation::Update, None, Some(&[("a", "1")]));
    skipping.unknown_change = UnknownChangePolicy::Skip;
    let mut tasks = event(0, Operation::Update, &[]);
    tasks.event_sources = vec!["Tasks".to_owned()];
    let mut inactive = event(0, Operation::Update, &[]);
    inactive.enabled = false;
    let mut other = event(0, Operation::Update, &[]);
    other.object_name = "customers".to_owned();
    let mut broken = event(0, Operation::Update, &[]);
    broken.payload = Payload::Template("{".to_owned());
    for (change, event, expected) in [
        (&update, &event(0, Operation::Update, &[]), r#"fires: changed: "b""#),
        (
            &update,
            &event(0, Operation::Update, &["a", "z"]),
            r#"does not fire: none of its fields changed: "a" has the same value, "z" is not in the row"#,
        ),
        (
            &blind,
            &event(0, Operation::Update, &["a"]),
            "fires: the old row was not sent, so any field may have changed; to get the old row (PostgreSQL): ALTER TABLE orders REPLICA IDENTITY FULL",
        ),
        (
            &skipping,
            &event(0, Operation::Update, &["a"]),
            "this source has unknown_change = \"skip\"; to get the old row",
        ),
        (
            &update,
            &tasks,
            "does not fire: the event source of the change is unknown, and the event accepts only Tasks; \
             set event_source",
        ),
        (&update, &inactive, "does not fire: the event is not active"),
        (&update, &other, r#"it is for table "customers", the row is in "orders""#),
        (
            &update,
            &event(0, Operation::Delete, &[]),
            "it is for table.recordDelete, the row change is table.recordUpdate",
        ),
        (&update, &broken, "the definition is invalid: its payload template: line 1, column 2"),
    ] {
        let text = says(change, event);
        assert!(text.contains(expected), "{text}\n not {expected}");
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Values, some of them equal but in another spelling.
fn json_value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "1",
        "1.0",
        "10e-1",
        "-0",
        "0",
        "null",
        "true",
        "\"1\"",
        "\"A\"",
        r#""\u0041""#,
        "[1,2]",
        "[1.0, 2]",
        "{\"x\":1,\"y\":2}",
        "{\"y\":2.0,\"x\":1}",
        "unavailable",
        "1e400",
        "10e399",
        "9007199254740993",
        "9007199254740992",
    ])
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::collection::btree_map(prop::sample::select(&NAMES[..]), json_value(), 0..4)
        .prop_map(|fields| fields.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn any_change() -> impl Strategy<Value = RowChange<'static>> {
    let operation = prop::sample::select(Operation::ALL.to_vec());
    let source = prop::option::of(prop::sample::select(EventSource::ALL.to_vec()));
    (operation, prop::option::of(fields()), fields(), source, any::<bool>()).prop_map(
        |(operation, before, after, source, fire)| RowChange {
            source,
            unknown_change: if fire { UnknownChangePolicy::Fire } else { UnknownChangePolicy::Skip },
            ..change(operation, before.as_deref(), Some(&after))
        },
    )
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let operation = prop::sample::select(Operation::ALL.to_vec());
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 0..3);
    let sources = prop::collection::vec(prop::sample::select(EventSource::ALL.to_vec()), 0..3);
    let one =
        (operation, names, sources, prop::bool::weighted(0.8)).prop_map(|(operation, names, sources, enabled)| {
            let names = if operation == Operation::Update { names } else { Vec::new() };
            let event_sources = sources.iter().map(EventSource::to_string).collect();
            Event { event_sources, enabled, ..event(0, operation, &names) }
        });
    prop::collection::vec(one, 0..8).prop_map(|mut events| {
        for (number, one) in (0..).zip(&mut events) {
            one.id = event(number, one.operation, &[]).id;
        }
        events
    })
}

/// The fields that really changed, found slowly and independently: values as normal forms in maps.
fn oracle(change: &RowChange<'_>) -> Vec<&'static str> {
    let normal = |row: &Row<'_>| -> BTreeMap<String, Option<String>> {
        row.fields.iter().map(|f| (f.name.to_string(), f.value.available.then(|| normal_form(&f.value.json)))).collect()
    };
    let (Some(before), Some(after)) = (change.before.as_ref().map(normal), change.after.as_ref().map(normal)) else {
        return Vec::new();
    };
    let changed = |name: &&str| match (before.get(*name), after.get(*name)) {
        (Some(Some(old)), Some(Some(new))) => old != new,
        _ => false,
    };
    NAMES.into_iter().filter(|name| changed(name)).collect()
}

/// Equal values of [`json_value`] have equal normal forms.
fn normal_form(json: &str) -> String {
    match json {
        "1" | "1.0" | "10e-1" => "1".to_owned(),
        "-0" | "0" => "0".to_owned(),
        "1e400" | "10e399" => "1e400".to_owned(),
        "9007199254740993" | "9007199254740992" => json.to_owned(),
        json => {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            value.to_string().replace("1.0", "1").replace("2.0", "2")
        }
    }
}

proptest! {
    #[test]
    fn changed_fields_agree_with_the_oracle(change in any_change()) {
        let mut found: Vec<&str> = changed_fields::fields(&change).collect();
        found.sort_unstable();
        if change.before.is_some() {
            prop_assert_eq!(found, oracle(&change));
        }
    }

    #[test]
    fn matching_and_explaining_agree(events in any_events(), change in any_change(), enabled in prop::bool::weighted(0.9)) {
        let webhook = Webhook { enabled, ..webhook() };
        let explained: Vec<EventId> = explain(&change, events.iter().map(|event| (&webhook, event)))
            .into_iter()
            .filter(EventVerdict::fires)
            .map(|verdict| verdict.event)
            .collect();
        let fired = if enabled { fired(&events, &change) } else { Vec::new() };
        prop_assert_eq!(fired, explained);
    }

    #[test]
    fn decimals_compare_by_value(digits in -1_000_000_i64..1_000_000, zeros in 0..5_usize, shift in -20_i64..20, other in -1_000_000_i64..1_000_000) {
        let padded = format!("{digits}.{}", "0".repeat(zeros + 1));
        let shifted = format!("{digits}{}e{shift}", "0".repeat(zeros));
        let back = format!("{digits}E{}", shift + zeros as i64);
        prop_assert!(json_eq::same(&digits.to_string(), &padded));
        prop_assert!(json_eq::same(&shifted, &back));
        prop_assert_eq!(json_eq::same(&format!("{other}.0"), &digits.to_string()), other == digits);
    }
}
