//! The commands of the program, one a file.

pub mod apply;
pub mod change;
pub mod explain;
pub mod get;
pub mod preview;
#[cfg(test)]
mod tests;
