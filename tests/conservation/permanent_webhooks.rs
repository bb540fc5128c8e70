//! The permanent webhooks, and their tables.

/// A permanent webhook.
pub struct Resident {
    /// The path of its URL. Without the slash this is the webhook's name.
    pub path: &'static str,
    pub table: &'static str,
    /// Whether the answers of its endpoint change.
    pub is_moody: bool,
    pub in_row_order: bool,
    pub calls_a_second: Option<usize>,
}

const ORDERS: Resident =
    Resident { path: "", table: "orders", is_moody: false, in_row_order: false, calls_a_second: None };
const RETURNS: Resident = Resident { table: "returns", is_moody: true, ..ORDERS };

/// Limit of calls per second of throttled webhooks. It is low, so that one call too many is visible.
const FEW: Option<usize> = Some(2);

/// The first endpoint always succeeds, the second never. Throttled webhooks have separate tables, whose changes are
/// written as fast as the webhook may send.
pub static RESIDENTS: [Resident; 10] = [
    Resident { path: "/well", ..ORDERS },
    Resident { path: NEVER, ..ORDERS },
    Resident { path: "/moody-1", is_moody: true, ..ORDERS },
    Resident { path: "/moody-2", is_moody: true, ..ORDERS },
    Resident { path: "/moody-3", ..RETURNS },
    Resident { path: "/moody-4", ..RETURNS },
    Resident { path: "/ordered", in_row_order: true, ..RETURNS },
    Resident { path: "/throttled", table: SLOW_TABLES[0], calls_a_second: FEW, ..ORDERS },
    Resident { path: "/throttled-ordered", table: SLOW_TABLES[1], in_row_order: true, calls_a_second: FEW, ..ORDERS },
    Resident { path: "/throttled-moody", table: SLOW_TABLES[2], is_moody: true, calls_a_second: FEW, ..ORDERS },
];

/// The path whose endpoint never succeeds.
pub const NEVER: &str = "/never";

/// The tables of throttled webhooks.
pub const SLOW_TABLES: [&str; 3] = ["refunds", "claims", "gifts"];

/// Distance between the first change numbers of two slow tables.
pub const APART: usize = 1_000_000_000;

pub fn table_of(change: usize) -> &'static str {
    match change / APART {
        0 if change % 3 == 2 => "returns",
        0 => "orders",
        slow => SLOW_TABLES[slow - 1],
    }
}

/// The row of a change. Returns have 100 rows, each slow table has 10, and each row belongs to one table.
pub fn row_of(change: usize) -> usize {
    match change / APART {
        0 => change % 300,
        slow => slow * APART + change % 10,
    }
}

/// An insert, as key and value of a record.
pub fn change(number: usize) -> (String, String) {
    let table = table_of(number);
    let row = format!(r#"{{"id":{number},"item":"Café au lait \"grande\"","total":12.50,"note":null}}"#);
    (row_of(number).to_string(), format!(r#"{{"id":"{number}","table":"{table}","operation":"insert","after":{row}}}"#))
}
