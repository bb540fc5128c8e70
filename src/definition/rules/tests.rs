use proptest::prelude::*;

use super::super::samples;
use super::super::{DefinitionChanges, Definitions, LogRecord};
use super::*;

fn refused_webhook(change: impl FnOnce(&mut Webhook)) -> String {
    let mut hook = samples::webhook("hook01", "A");
    change(&mut hook);
    webhook(&hook, &Policy::default()).unwrap_err().to_string()
}

fn refused_event(operation: Operation, change: impl FnOnce(&mut Event)) -> String {
    let mut sample = samples::event("event1", "hook01", operation, "T", &[]);
    change(&mut sample);
    event(&sample).unwrap_err().to_string()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn invalid_webhook_is_rejected_with_field_and_value() {
    assert_eq!(webhook(&samples::webhook("hook01", "A"), &Policy::default()), Ok(()));
    let cases = [
        (refused_webhook(|hook| hook.name.clear()), "Name is required"),
        (refused_webhook(|hook| hook.account = " ".into()), "Account is required"),
        (refused_webhook(|hook| hook.name = "é".repeat(256)), "Name has 256 characters, and at most 255 are allowed"),
        (refused_webhook(|hook| hook.description = Some("d".repeat(10_001))), "Description has 10001 characters"),
        (refused_webhook(|hook| hook.urls.clear()), "OutgoingUrls is required"),
        (
            refused_webhook(|hook| hook.urls.push(hook.urls[0].clone())),
            "OutgoingUrls has \"https://example.com/hook\" twice",
        ),
        (refused_webhook(|hook| hook.urls = texts(&["ftp://a"])), "OutgoingUrls: \"ftp://a\" is not an outgoing URL"),
        (refused_webhook(|hook| hook.urls = texts(&["http://a"])), "\"http://a\" is http"),
        (refused_webhook(|hook| hook.urls[0] += &"x".repeat(MAX_URL)), "at most 2048 are allowed"),
        (refused_webhook(|hook| hook.urls = (0..101).map(|n| format!("https://a/{n}")).collect()), "101 URLs"),
        (refused_webhook(|hook| hook.call_throttling = Some(0)), "CallThrottling is 0"),
    ];
    for (refusal, part) in cases {
        assert!(refusal.contains(part), "{refusal}");
    }
    let mut plain = samples::webhook("hook01", "A");
    plain.urls = texts(&["http://a"]);
    assert_eq!(webhook(&plain, &Policy { allow_http: true, ..Policy::default() }), Ok(()));
}

#[test]
fn invalid_event_is_rejected_with_field_and_value() {
    use Operation::{Delete, Insert, Update};
    let cases = [
        (refused_event(Insert, |event| event.object_name.clear()), "ObjectName is required"),
        (refused_event(Delete, |event| event.object_fields = texts(&["a"])), "EventType is table.recordDelete"),
        (refused_event(Update, |event| event.object_fields = texts(&["a", "b", "a"])), "ObjectFields has \"a\" twice"),
        (refused_event(Update, |event| event.object_fields = texts(&["a", ""])), "ObjectFields has an empty name"),
        (refused_event(Update, |event| event.object_fields = (0..1001).map(|n| n.to_string()).collect()), "1001 names"),
        (refused_event(Insert, |event| event.event_sources = texts(&["DataPages", "Mars"])), "EventSources: \"Mars\""),
        (refused_event(Insert, |event| event.event_sources = texts(&["Tasks", "Tasks"])), "\"Tasks\" twice"),
        (refused_event(Insert, |event| event.payload = Payload::Fields(texts(&["a", "a"]))), "CustomPayloadFields"),
        (
            refused_event(Insert, |event| event.payload = Payload::Template("nonsense".to_owned())),
            "CustomPayloadTemplate: line 1",
        ),
        (
            refused_event(Insert, |event| {
                event.payload = Payload::Template(format!("{{'a':'{}'}}", "x".repeat(MAX_TEMPLATE)))
            }),
            "at most 262144",
        ),
    ];
    for (refusal, part) in cases {
        assert!(refusal.contains(part), "{refusal}");
    }
    let mut page = samples::event("event1", "hook01", Update, "MyCustomers", &["First_Name", "Last_Name"]);
    page.event_sources = texts(&["Datasheets", "DataPages"]);
    assert_eq!(event(&page), Ok(()));
}

#[test]
fn fields_and_template_are_exclusive_and_an_empty_one_counts_as_absent() {
    let (fields, template) = (Some(texts(&["a"])), Some("{}".to_owned()));
    assert_eq!(payload(fields.clone(), template.clone()), Err(Violation::TwoPayloads));
    assert_eq!(payload(fields, Some(String::new())), Ok(Payload::Fields(texts(&["a"]))));
    assert_eq!(payload(Some(Vec::new()), template), Ok(Payload::Template("{}".to_owned())));
    assert_eq!(payload(None, None), Ok(Payload::Default));
}

#[test]
fn unknown_event_types_are_rejected() {
    assert_eq!(operation("table.recordUpdate"), Ok(Operation::Update));
    assert!(operation("table.recordUpsert").unwrap_err().to_string().contains("\"table.recordUpsert\" is unknown"));
}

#[test]
fn webhook_name_conflicts_only_within_its_account() {
    let hook = samples::webhook("hook01", "A");
    let record = LogRecord::webhook(&hook);
    let mut among = Definitions::default();
    among.apply(record.key.to_string().as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
    assert_eq!(unique_name(&hook, &PendingDefinitions::new(&among)), Ok(()));
    assert_eq!(
        unique_name(
            &Webhook { account: "zoo".into(), ..samples::webhook("hook02", "A") },
            &PendingDefinitions::new(&among)
        ),
        Ok(())
    );
    let refusal =
        unique_name(&samples::webhook("hook02", "A"), &PendingDefinitions::new(&among)).unwrap_err().to_string();
    assert_eq!(refusal, "Name \"A\" is taken in account \"acme\", by webhook hook01");
}

#[test]
fn each_event_slot_is_taken_once_and_the_error_names_its_holder() {
    use Operation::{Delete, Insert, Update};
    let event = |id, operation, table, fields| samples::event(id, "hook01", operation, table, fields);
    let stand = [
        event("insert", Insert, "T", &[]),
        event("delete", Delete, "T", &[]),
        event("fields", Update, "T", &["a", "b"]),
        event("afield", Update, "T", &["a"]),
        event("update", Update, "U", &[]),
        event("insert", Insert, "U", &[]),
    ];
    let cases = [
        (event("second", Insert, "T", &[]), "table.recordInsert event on \"T\" already, insert"),
        (event("second", Delete, "T", &[]), "table.recordDelete event on \"T\" already, delete"),
        (event("second", Update, "T", &["b", "a"]), "same ObjectFields already, fields"),
        (event("second", Update, "T", &[]), "on \"T\" already, afield, and one of them is for all fields"),
        (event("second", Update, "U", &["a"]), "on \"U\" already, update, and one of them is for all fields"),
        (event("second", Update, "U", &[]), "table.recordUpdate event on \"U\" already, update"),
    ];
    for (second, part) in &cases {
        let mut places = EventSlots::default();
        for event in &stand {
            places.claim(event).unwrap();
        }
        let refusal = places.claim(second).unwrap_err();
        assert!(refusal.to_string().contains(part), "{refusal}");
        assert!(refusal.other_event().is_some());
    }
}

proptest! {
    /// Whatever events are offered in whatever order, the accepted ones keep the rule as the contract words it.
    #[test]
    fn accepted_events_satisfy_the_uniqueness_rule(events in proptest::collection::vec(samples::any_event(), 0..30)) {
        let mut places = EventSlots::default();
        let kept: Vec<&Event> = events.iter().filter(|event| places.claim(event).is_ok()).collect();
        for (i, a) in kept.iter().enumerate() {
            for b in &kept[i + 1..] {
                if a.operation != b.operation || a.object_name != b.object_name {
                    continue;
                }
                let set = |event: &Event| event.object_fields.iter().cloned().collect::<BTreeSet<_>>();
                prop_assert_eq!(a.operation, Operation::Update);
                prop_assert_ne!(set(a), set(b));
                prop_assert!(!a.object_fields.is_empty() && !b.object_fields.is_empty());
            }
        }
    }
}
