//! The commands of the program, one a file.

pub mod change;
pub mod explain;
pub mod preview;
#[cfg(test)]
mod tests;
