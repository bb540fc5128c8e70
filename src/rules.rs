//! Definitions compiled to rules: what a record's way needs of them, made once when a definition is read.

mod authorization;
mod body;
mod counts;
mod rule;

pub use self::authorization::{Authorization, TokenSource};
pub use self::body::{BodySpan, BodyStep, CompiledBody, CompiledMember, Hidden, SelectedField};
pub use self::counts::{CountsByEvent, EventCounts, Totals};
pub use self::rule::{CompileError, Live, Rule, Target};
