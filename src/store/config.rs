//! Where definitions live: the `[definitions]` section.

/// Where definitions live.
#[derive(Debug, Clone)]
pub struct Config {
    pub topic: String,
}
