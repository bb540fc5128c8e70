//! Runs a compiled template over a row change.
