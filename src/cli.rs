//! TEMP: stands in for the command line.

pub mod apply;
pub mod get;
