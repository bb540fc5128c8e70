//! The time to render one message, ids and body, for the default payload, chosen fields and a template.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use outhook::decode::{EventDate, Field, Identity, Row, RowChange, Sequence, UnknownChangePolicy, Value};
use outhook::definition::{Event, Payload, Webhook};
use outhook::render::Renderer;
use outhook::rules::{Rule, Target};
use outhook::vocabulary::Operation;
use serde_json::json;

const TEMPLATE: &str = "{
    '@type': 'MessageCard',
    'summary': 'Order [@field:id] is now [@field:state]',
    'sections': [{
        'activityTitle': 'Hello [@field:email]',
        'facts': [
            {'name': 'Total:', 'value': '[@field:total]'},
            {'name': 'Date:', 'value': '[@out-hook:eventDate]'},
            {'name': 'Id:', 'value': '[@out-hook:messageId]'}
        ],
        'text': '[@field:note].'
    }]
}";

fn rule(payload: Payload) -> Rule {
    let stamp = json!({"at": "2023-05-17T12:45:27.5286883Z", "by": "bench"});
    let webhook: Webhook = serde_json::from_value(json!({
        "id": "whk001", "account": "acme", "name": "bench", "urls": ["https://example.com/hooks/orders"],
        "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "created": stamp,
    }))
    .expect("a valid webhook");
    let mut event: Event = serde_json::from_value(json!({
        "id": "evt001", "webhook": "whk001", "operation": "table.recordUpdate", "object_name": "orders",
        "enabled": true, "created": stamp,
    }))
    .expect("a valid event");
    event.payload = payload;
    let target = Arc::new(Target::of(&webhook).expect("a valid URL"));
    Rule::compile(&webhook, &event, &target).expect("a valid event")
}

/// An update with the new row of a record of about 600 bytes.
fn update() -> RowChange<'static> {
    let after = [
        ("id", "4711"),
        ("customer_id", "815"),
        ("state", "\"shipped\""),
        ("total", "12345.67"),
        ("email", "\"ada.lovelace@example.com\""),
        ("note", r#""Leave it \"at the door\", please""#),
        ("vip", "true"),
        ("shipped_at", "\"2024-02-29T13:14:15.123456Z\""),
    ];
    RowChange {
        account: "acme".into(),
        table: "orders".into(),
        operation: Operation::Update,
        source: None,
        event_date: EventDate { at: jiff::Timestamp::UNIX_EPOCH, fraction_digits: 6 },
        sequence: Sequence::Postgres { commit: 26_000_000, lsn: 27_000_000, after_delete: true },
        identity: Identity::Debezium("shop 27052464 public.orders u {\"id\":4711}".to_owned()),
        before: None,
        after: Some(Row::new(after.map(|(name, json)| Field { name: name.into(), value: Value::new(json) }).into())),
        trimmed: false,
        unknown_change: UnknownChangePolicy::Fire,
    }
}

fn render(criterion: &mut Criterion) {
    let change = update();
    let mut renderer = Renderer::default();
    for (name, payload, ends_with) in [
        ("default payload", Payload::Default, "\"shipped_at\":\"2024-02-29T13:14:15.123456Z\"}]}"),
        ("chosen fields", Payload::Fields(vec!["total".to_owned(), "note".to_owned()]), "at the door\\\", please\"}]}"),
        ("template", Payload::Template(TEMPLATE.to_owned()), "\"text\":\"Leave it \\\"at the door\\\", please.\"}]}"),
    ] {
        let rule = rule(payload);
        criterion.bench_function(&format!("render/{name}"), |bench| {
            bench.iter(|| {
                let message =
                    renderer.render(&rule, &change).next().expect("there is an endpoint").expect("it is small");
                assert!(message.body.ends_with(ends_with.as_bytes()));
            });
        });
    }
}

criterion_group!(benches, render);
criterion_main!(benches);
