//! Stage 3: which events a row change fires.

mod changed;
mod explain;
mod index;
mod rule;

pub use self::explain::{Reason, Verdict};
pub use self::index::{Index, TableRules};
pub use self::rule::{CompileError, Rule, Target};
