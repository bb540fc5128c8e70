//! Definitions for the tests of this room.

use proptest::prelude::*;

use super::{Event, FieldType, Payload, Secret, Stamp, Table, TableField, Webhook};
use crate::id::{AccountId, EventId, TableId, WebhookId};
use crate::vocabulary::{EventSource, Operation};

pub fn stamp() -> Stamp {
    Stamp { at: "2023-05-17T12:45:27.5286883Z".to_owned(), by: "John Doe (john.doe@acme.com)".to_owned() }
}

pub fn webhook(id: &str, name: &str) -> Webhook {
    Webhook {
        id: id.parse().unwrap(),
        account: "acme".into(),
        name: name.to_owned(),
        description: None,
        urls: vec!["https://example.com/hook".to_owned()],
        call_throttling: None,
        secret: Secret::from_random([7; 32]),
        old_secret: None,
        handling: Default::default(),
        enabled: true,
        stopped: None,
        version: 1,
        created: stamp(),
        modified: None,
    }
}

pub fn event(id: &str, webhook: &str, operation: Operation, table: &str, fields: &[&str]) -> Event {
    Event {
        id: id.parse().unwrap(),
        webhook: webhook.parse().unwrap(),
        operation,
        type_as_given: None,
        object_name: table.to_owned(),
        object_fields: fields.iter().map(|&field| field.to_owned()).collect(),
        event_sources: Vec::new(),
        payload: Payload::Default,
        enabled: true,
        version: 1,
        created: stamp(),
        modified: None,
    }
}

/// A declared table of `acme`.
pub fn table(name: &str, fields: &[(&str, FieldType)]) -> Table {
    let account = AccountId::from("acme");
    let field = |(name, kind): &(&str, FieldType)| TableField {
        name: (*name).to_owned(),
        kind: *kind,
        label: None,
        description: None,
        unique: false,
        required: false,
        editable: true,
    };
    Table {
        id: TableId::of(&account, name),
        account,
        name: name.to_owned(),
        fields: fields.iter().map(field).collect(),
        version: 1,
        created: stamp(),
        modified: None,
    }
}

/// One of a few ids, so that records share keys.
pub fn webhook_id() -> impl Strategy<Value = WebhookId> {
    (0_u8..4).prop_map(|n| WebhookId::from_random([n; 6]))
}

pub fn event_id() -> impl Strategy<Value = EventId> {
    (0_u8..8).prop_map(|n| EventId::from_random([n; 6]))
}

/// Any text that a user may enter, hostile ones too, but not blank.
pub fn text() -> impl Strategy<Value = String> {
    let odd = [
        "yes", "null", "~", "123", "1e3", "0x1F", "- a", "a: b", "#c", " lead", "trail ", "a\nb", "'", "\"", "é漢",
        "|", "true",
    ];
    prop_oneof![
        proptest::sample::select(odd.map(str::to_owned).to_vec()),
        "[ -~]{1,20}",
        "\\PC{1,12}",
        "[a-z \t\r\n\\\\\"':#-]{1,20}",
    ]
    .prop_filter("blank", |text| !text.trim().is_empty())
}

pub fn any_webhook() -> impl Strategy<Value = Webhook> {
    (
        (webhook_id(), proptest::sample::select(vec!["acme", "zoo"]), text(), proptest::option::of(text())),
        (proptest::collection::btree_set("https://[a-z]{1,8}\\.example/[a-z?=&%-]{0,8}", 1..4), any::<[u8; 32]>()),
        (proptest::option::of(1_u32..100), any::<bool>()),
    )
        .prop_filter("URL", |(_, (urls, _), _)| urls.iter().all(|url| super::Endpoint::parse(url).is_ok()))
        .prop_map(|((id, account, name, description), (urls, random), (call_throttling, enabled))| Webhook {
            id,
            account: account.into(),
            name,
            description,
            urls: urls.into_iter().collect(),
            call_throttling,
            secret: Secret::from_random(random),
            old_secret: None,
            handling: Default::default(),
            enabled,
            stopped: None,
            version: 1,
            created: stamp(),
            modified: None,
        })
}

pub fn any_event() -> impl Strategy<Value = Event> {
    let names =
        || proptest::collection::btree_set(text(), 0..3).prop_map(|names| names.into_iter().collect::<Vec<_>>());
    let payload = prop_oneof![
        Just(Payload::Default),
        names().prop_map(|names| if names.is_empty() { Payload::Default } else { Payload::Fields(names) }),
        "\\{'[a-zA-Z:\\. #-]{1,9}':\n? {0,4}'[@a-z]{0,9}'\n? {0,3}\\}\n{0,2}".prop_map(Payload::Template),
    ];
    let sources = proptest::sample::subsequence(EventSource::ALL.to_vec(), 0..3);
    (
        (event_id(), webhook_id(), proptest::sample::select(Operation::ALL.to_vec())),
        (proptest::sample::select(vec!["Orders", "My table", "t"]), names(), sources, payload, any::<bool>()),
    )
        .prop_map(|((id, webhook, operation), (table, fields, sources, payload, enabled))| Event {
            id,
            webhook,
            operation,
            type_as_given: None,
            object_name: table.to_owned(),
            object_fields: if operation == Operation::Update { fields } else { Vec::new() },
            event_sources: sources.iter().map(|source| source.as_str().to_owned()).collect(),
            payload,
            enabled,
            version: 1,
            created: stamp(),
            modified: None,
        })
}

/// One of a few accounts and names, among them those of the events.
pub fn any_table() -> impl Strategy<Value = Table> {
    let field = (
        (text(), proptest::sample::select(FieldType::ALL.to_vec())),
        (proptest::option::of(text()), proptest::option::of(text()), any::<[bool; 3]>()),
    );
    let field = field.prop_map(|((name, kind), (label, description, [unique, required, editable]))| TableField {
        name,
        kind,
        label,
        description,
        unique,
        required,
        editable,
    });
    let accounts = proptest::sample::select(vec!["acme", "zoo"]);
    let names = proptest::sample::select(vec!["Orders", "My table", "t", "yes"]);
    (accounts, names, proptest::collection::vec(field, 0..4)).prop_map(|(account, name, fields)| {
        let account = AccountId::from(account);
        let mut seen = std::collections::HashSet::new();
        let fields = fields.into_iter().filter(|field| seen.insert(field.name.clone())).collect();
        Table { id: TableId::of(&account, name), account, fields, ..table(name, &[]) }
    })
}
