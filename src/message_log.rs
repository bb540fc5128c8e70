//! The message log: what became of every attempt, so that "did you send it?" has an answer.
//!
//! One record an attempt, and one an end without an attempt, in a topic that is written beside delivery and never
//! holds it up: what Kafka does not take fast enough is left out and counted. All of a message are in one partition,
//! so that it is found again by reading only that.

mod config;
mod entry;
mod filter;
mod reading;
#[cfg(test)]
mod tests;
mod writer;

pub use self::config::{Config, MessageLogLevel};
pub use self::entry::{Attempt, CallStatus, LogEntry, Statuses, newest_of_calls, oldest_first};
pub use self::filter::EntryFilter;
pub use self::reading::{MessageLog, Origin};
pub use self::writer::{LogWriter, client, describe_metrics};
