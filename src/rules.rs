//! Definitions compiled to rules: everything that the path of a record needs of them, compiled once when a definition
//! is read.

mod authorization;
mod body;
mod counts;
mod rule;

pub use self::authorization::{Authorization, TokenSource};
pub use self::body::{BodySpan, BodyStep, CompiledBody, CompiledMember, HiddenFields, SelectedField};
pub use self::counts::{CountsByEvent, EventCounts, Totals};
pub use self::rule::{CompileError, EventState, Rule, Target};
