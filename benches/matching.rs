//! The time to match a row change: it must depend on the events that fire, not on the number of definitions of a
//! table.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use outhook::decode::{EventDate, Field, Identity, Row, RowChange, Sequence, UnknownChangePolicy, Value};
use outhook::definition::{Event, TableKey, Webhook};
use outhook::id::AccountId;
use outhook::matching::Index;
use outhook::rules::{Rule, Target};
use outhook::vocabulary::Operation;
use serde_json::json;

const FIELDS: usize = 20;
const NAMES: [&str; FIELDS] = [
    "id",
    "customer_id",
    "state",
    "total",
    "currency",
    "note",
    "street",
    "city",
    "zip",
    "country",
    "phone",
    "email",
    "created_at",
    "updated_at",
    "shipped_at",
    "carrier",
    "tracking",
    "discount",
    "tax",
    "channel",
];

/// A table with this many definitions, each for a different field, one of them for `total`.
fn index(definitions: usize) -> Index {
    let stamp = json!({"at": "2023-05-17T12:45:27.5286883Z", "by": "bench"});
    let webhook: Webhook = serde_json::from_value(json!({
        "id": "whk001", "account": "acme", "name": "bench", "urls": ["https://example.com/hook"],
        "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "created": stamp,
    }))
    .expect("a valid webhook");
    let mut event: Event = serde_json::from_value(json!({
        "id": "evt001", "webhook": "whk001", "operation": "table.recordUpdate", "object_name": "orders",
        "object_fields": [], "enabled": true, "created": stamp,
    }))
    .expect("a valid event");
    let target = Arc::new(Target::of(&webhook).expect("a valid URL"));
    let rules = (0..definitions).map(|number| {
        event.object_fields = vec![if number == 0 { "total".to_owned() } else { format!("field {number}") }];
        Arc::new(Rule::compile(&webhook, &event, &target).expect("a valid event"))
    });
    let index = Index::default();
    index.replace(&TableKey { account: AccountId::from("acme"), table: "orders".to_owned() }, rules.collect());
    index
}

/// An update of one of twenty fields.
fn update() -> RowChange<'static> {
    let row = |total: &'static str| {
        let fields = NAMES.map(|name| {
            let json = if name == "total" { total } else { "\"some twenty letters\"" };
            Field { name: name.into(), value: Value::new(json) }
        });
        Row::new(fields.into())
    };
    RowChange {
        account: "acme".into(),
        table: "orders".into(),
        operation: Operation::Update,
        source: None,
        event_date: EventDate { at: jiff::Timestamp::UNIX_EPOCH, fraction_digits: 6 },
        sequence: Sequence::Offset { partition: 0, offset: 0 },
        identity: Identity::RecordPosition { topic: "orders", partition: 0, offset: 0, timestamp_ms: 0 },
        before: Some(row("19.50")),
        after: Some(row("21.00")),
        trimmed: false,
        unknown_change: UnknownChangePolicy::Fire,
    }
}

fn matching(criterion: &mut Criterion) {
    let change = update();
    let mut scratch = Vec::new();
    for definitions in [1, 1_000, 100_000] {
        let index = index(definitions);
        criterion.bench_function(&format!("match/{definitions} definitions"), |bench| {
            bench.iter(|| {
                let rules = index.rules(&change.account, &change.table).expect("the table has rules");
                let fired = rules.matches(&change, &mut scratch).count();
                assert_eq!(fired, 1);
            });
        });
    }
}

criterion_group!(benches, matching);
criterion_main!(benches);
