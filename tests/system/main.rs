//! The built program on a real broker under trouble and over time: retries, overload, outages, several instances. These
//! tests take about ten minutes, so `cargo test --test system` runs them, and `cargo test` alone does not.

mod acl;
mod completion;
mod dialled;
mod endpoint_news;
mod hostile;
mod kafka_trouble;
mod limits;
mod log_ends;
mod made_anew;
mod message_log;
mod overflow;
mod redrive;
mod replay;
mod rest_writers;
mod retries;
mod row_order;
mod shutdown;
mod stats;
mod unreadable;
mod waiting;

use std::time::Duration;

/// The program under test.
const OUTHOOK: &str = env!("CARGO_BIN_EXE_outhook");

/// Well over the time until a change of a definition is effective everywhere. 1 s is promised, which `rest_writers`
/// measures.
const EFFECTIVE: Duration = Duration::from_secs(4);

/// Timeout for steps that should happen immediately. It is long because the machine may be slow.
const SOON: Duration = Duration::from_secs(30);
