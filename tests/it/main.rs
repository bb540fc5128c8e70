//! The built program on a real broker, seen from outside: what it is given, what it sends, what it says.

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

/// Long after a change of a definition is in force everywhere: a second is promised, which `rest_writers` measures.
const EFFECTIVE: Duration = Duration::from_secs(4);

/// How long a test waits for what should happen at once: long, since the machine may be slow.
const SOON: Duration = Duration::from_secs(30);
