//! The webhooks that stay, and the tables that they hear of.

/// A webhook that stays.
pub struct Resident {
    /// Where it sends; without the slash this is its name.
    pub path: &'static str,
    pub table: &'static str,
    /// How its endpoint answers changes.
    pub is_moody: bool,
    pub in_row_order: bool,
    pub calls_a_second: Option<usize>,
}

const ORDERS: Resident =
    Resident { path: "", table: "orders", is_moody: false, in_row_order: false, calls_a_second: None };
const RETURNS: Resident = Resident { table: "returns", is_moody: true, ..ORDERS };

/// How many calls a second throttled webhooks may make: few, so that one too many is seen.
const FEW: Option<usize> = Some(2);

/// The first endpoint always answers well, the second never. Those that are throttled have tables of their own, which
/// are written as fast as they may send.
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

/// What answers no call well.
pub const NEVER: &str = "/never";

/// The tables of throttled webhooks.
pub const SLOW_TABLES: [&str; 3] = ["refunds", "claims", "gifts"];

/// Row changes have numbers; those of each slow table begin so far behind those of the one before.
pub const APART: usize = 1_000_000_000;

pub fn table_of(change: usize) -> &'static str {
    match change / APART {
        0 if change % 3 == 2 => "returns",
        0 => "orders",
        slow => SLOW_TABLES[slow - 1],
    }
}

/// The row that a change is of: there are 100 of returns and few of each slow table, and each has changes of one table
/// alone.
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
