//! Stage 3: finds the events that a row change fires.
//!
//! A table's rules are compiled into lookups ([`TableRules`]). The cost of a row change depends on the fields that
//! changed and the rules that fire, not on how many definitions the table has. [`explain`] evaluates the same rules
//! slowly and explains the result in words. Pure: no clock, no I/O.

mod changed_fields;
mod explain;
mod index;
mod json_eq;
mod table;
#[cfg(test)]
mod tests;

pub use self::explain::{EventVerdict, FiringReason, Reason, explain};
pub use self::index::{Index, TopicEnd};
pub use self::table::TableRules;
pub use crate::matching::changed_fields::Comparison;
