//! Custom payload templates: text compiled once into a flat program.

use std::borrow::Cow;

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {}

impl Template {
    pub fn compile(text: &str) -> Result<Template, TemplateError> {
        if text.trim_start().starts_with(['{', '[']) {
            return Ok(Template {});
        }
        Err(TemplateError {
            line: 1,
            column: 1,
            expected: Cow::Borrowed("an object"),
            found: text.chars().take(10).collect(),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: expected {expected}, found {found}")]
pub struct TemplateError {
    pub line: usize,
    pub column: usize,
    pub expected: Cow<'static, str>,
    pub found: String,
}
