//! Stage 3: which events a row change fires.
//!
//! A table's rules are compiled into lookups ([`TableRules`]), so that what a row change costs depends on the
//! fields that changed and the rules that fire, not on how many definitions the table has. [`explain`] says
//! the same slowly and in words. Pure: no clock, no I/O.

mod changed;
mod explain;
mod index;
mod json_eq;
mod table;
#[cfg(test)]
mod tests;

pub use self::changed::Comparison;
pub use self::explain::{EventVerdict, FiringReason, Reason, explain};
pub use self::index::{End, Index};
pub use self::table::TableRules;
