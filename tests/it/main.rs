//! Tests of the built program on a real broker: its inputs, its requests, its output.

mod acl;
mod bad_input;
mod completion;
mod dead_letters;
mod definitions;
mod delivery;
mod dev;
mod dialled;
mod endpoint_news;
mod endpoints;
mod harness_itself;
mod hostile;
mod kafka_trouble;
mod limits;
mod log_ends;
mod made_anew;
mod message_log;
mod overflow;
mod page;
mod receive;
mod redrive;
mod replay;
mod rest;
mod rest_writers;
mod retries;
mod row_order;
mod shutdown;
mod stats;
mod tables;
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
