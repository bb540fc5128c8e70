//! Custom payload templates: text compiled once into a flat program.
//!
//! A template is JSON whose strings are in single or double quotes, may span several lines, and may contain
//! parameters, `[@field:Name]` and `[@out-hook:messageId]`, anywhere in a key or value. `docs/templates.md` documents
//! the grammar for users. Only `parse` reads it. A program writes compact JSON with the keys in the template's order.

mod cursor;
mod parse;
mod program;
mod string;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::program::{
    DEFAULT_PAYLOAD_PARAMETERS, DynamicMember, EventParameter, MessageParameter, OUT_HOOK_PARAMETERS, RowReference,
    TemplateOp,
};

/// Max nesting depth of objects and arrays.
pub const MAX_DEPTH: usize = 128;

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    ops: Vec<TemplateOp>,
}

impl Template {
    /// Compiles a template's text.
    ///
    /// # Errors
    /// The text breaks the grammar, or a parameter is unknown. The error names the place, what was expected, and what
    /// was found.
    pub fn compile(text: &str) -> Result<Template, TemplateError> {
        parse::template(text).map(|ops| Template { ops })
    }

    /// The steps that write the payload, in order.
    pub fn ops(&self) -> &[TemplateOp] {
        &self.ops
    }

    /// The fields that the template names, repetitions included.
    pub fn fields(&self) -> Vec<&str> {
        let mut fields = Vec::new();
        program::collect_fields(&self.ops, &mut fields);
        fields
    }
}

/// Where a template breaks the grammar, in words for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: expected {expected}, found {found}")]
pub struct TemplateError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    pub expected: Cow<'static, str>,
    pub found: String,
}
