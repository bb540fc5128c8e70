//! The built program on a real broker: definitions in, requests out. What `cargo test` runs; `tests/system` has the
//! long tests.

mod bad_input;
mod dead_letters;
mod definitions;
mod delivery;
#[cfg(feature = "dev")]
mod dev;
mod endpoints;
mod harness_itself;
mod html_pages;
#[cfg(feature = "dev")]
mod receive;
mod rest;
mod tables;

use harness::{EFFECTIVE, SOON};

/// The program under test.
const OUTHOOK: &str = env!("CARGO_BIN_EXE_outhook");
