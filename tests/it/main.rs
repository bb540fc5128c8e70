//! The built program on a real broker: definitions in, requests out. What `cargo test` runs; `tests/system` has the long
//! tests.

mod bad_input;
mod dead_letters;
mod definitions;
mod delivery;
mod dev;
mod endpoints;
mod harness_itself;
mod page;
mod receive;
mod rest;
mod tables;

use std::time::Duration;

/// The program under test.
const OUTHOOK: &str = env!("CARGO_BIN_EXE_outhook");

/// Well over the time until a change of a definition is effective everywhere. 1 s is promised, which `rest_writers`
/// measures.
const EFFECTIVE: Duration = Duration::from_secs(4);

/// Timeout for steps that should happen immediately. It is long because the machine may be slow.
const SOON: Duration = Duration::from_secs(30);
