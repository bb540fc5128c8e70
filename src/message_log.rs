//! The message log: one entry per attempt with its result, which answers "did you send it?".
//!
//! A call that ends without an attempt has an entry too. The topic is written independently of delivery and never
//! delays it: entries that Kafka does not accept in time are dropped and counted. All entries of a message are in one
//! partition, so a search for a message reads only this partition.

mod config;
mod entry;
mod filter;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use self::config::{Config, MessageLogLevel, MessageLogSettingsError};
pub use self::entry::{Attempt, CallStatus, LogEntry, StatusFilter, UnknownStatus, newest_per_call, oldest_first};
pub use self::filter::EntryFilter;
pub use self::writer::{LogWriter, StartError, client, describe_metrics};
pub use crate::message_log::reader::{MessageLogReader, MessageOrigin};
