//! The built program on a real broker under trouble and over time: retries, overload, outages, several instances. These
//! tests take about six minutes, so `cargo test --test system` runs them, and `cargo test` alone does not.

mod acl;
mod broker_failures;
mod completion;
mod endpoint_connections;
mod endpoint_responses;
mod hostile;
mod limits;
mod log_boundaries;
mod message_log;
mod overflow;
mod recreated;
mod redrive;
mod replay;
mod rest_writers;
mod retries;
mod row_order;
mod shutdown;
mod stats;
mod unreadable;
mod waiting;

use harness::{EFFECTIVE, SOON};

/// The program under test.
const OUTHOOK: &str = env!("CARGO_BIN_EXE_outhook");
