//! Custom payload templates: text compiled once into a flat program.

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {}
