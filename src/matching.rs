//! Stage 3: which events a row change fires.
//!
//! A table's rules are compiled into lookups ([`TableRules`]), so that what a row change costs depends on the
//! fields that changed and the rules that fire, not on how many definitions the table has. [`explain`] says
//! the same slowly and in words. Pure: no clock, no I/O.

mod authorization;
mod body;
mod changed;
mod counts;
mod explain;
mod index;
mod json_eq;
mod rule;
mod table;
#[cfg(test)]
mod tests;

pub use self::authorization::{Authorization, TokenSource};
pub use self::body::{BodySpan, BodyStep, CompiledBody, CompiledMember, Hidden, SelectedField};
pub use self::changed::Comparison;
pub use self::counts::{CountsByEvent, EventCounts, Totals};
pub use self::explain::{EventVerdict, FiringReason, Reason, explain};
pub use self::index::{End, Index};
pub use self::rule::{CompileError, Live, Rule, Target};
pub use self::table::TableRules;
