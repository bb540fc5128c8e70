//! The time to find the events that a row change fires.

use std::hint::black_box;
use std::time::Instant;

use outhook::decode::{EventDate, Field, Identity, Row, RowChange, Sequence, UnknownChangePolicy, Value};
use outhook::matching::Index;
use outhook::vocabulary::Operation;

use super::made;

/// Row changes to match.
const CHANGES: usize = 300_000;
/// Update events of a table that fire: half for any field, half for fields of which one has changed.
const FIRES: usize = 10;

/// Nanoseconds per row change.
pub struct Lookup {
    pub one_table: f64,
    pub all_tables: f64,
}

pub fn measure(index: &Index, definitions: usize) -> Lookup {
    let tables: Vec<_> = made::tables(definitions).collect();
    assert_eq!(index.table_count(), tables.len());
    Lookup { one_table: nanoseconds(index, &tables[..1]), all_tables: nanoseconds(index, &tables) }
}

fn nanoseconds(index: &Index, tables: &[(String, String)]) -> f64 {
    // The step shares no divisor with the number of tables, so that consecutive lookups are not neighbours in memory.
    let step = (7_919..).find(|step| gcd(*step, tables.len()) == 1).expect("there are enough primes");
    let mut change = update();
    let mut scratch = Vec::new();
    let started = Instant::now();
    for number in 0..CHANGES {
        let (account, table) = &tables[number * step % tables.len()];
        (change.account, change.table) = (account.into(), table.into());
        let rules = index.rules(&change.account, &change.table).expect("the table has rules");
        assert_eq!(black_box(rules.matches(&change, &mut scratch)).count(), FIRES);
    }
    started.elapsed().as_secs_f64() * 1e9 / CHANGES as f64
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An update of one field in ten.
fn update<'a>() -> RowChange<'a> {
    const NAMES: [&str; 10] =
        ["Order_ID", "Customer_ID", "Order_Status", "Total", "Currency", "City", "Zip", "Country", "Email", "Carrier"];
    let row = |total: &'static str| {
        let fields = NAMES.map(|name| {
            let json = if name == "Total" { total } else { "\"some twenty letters\"" };
            Field { name: name.into(), value: Value::new(json) }
        });
        Row::new(fields.into())
    };
    RowChange {
        account: "".into(),
        table: "".into(),
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
