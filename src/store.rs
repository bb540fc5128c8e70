//! Definitions as a log: read to its end, followed after, written fenced.
//!
//! The log is one compacted partition, so every instance reads the same records in the same order. `log`
//! reads it, `follow` holds its state and keeps the index of compiled rules at it, `writer` adds to it.

mod compile;
mod config;
mod follow;
mod log;
mod status;
mod writer;

pub use self::config::Config;
pub use self::follow::Store;
pub use self::log::{Log, Next, read};
pub use self::status::{BadDefinition, Status, describe_metrics};
pub use self::writer::{WriteError, write};

use rdkafka::error::KafkaError;

/// Why definitions can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the Kafka client for topic {topic} can't be made: {source}")]
    Client { topic: String, source: Box<KafkaError> },
    #[error(
        "topic {topic} can't be looked up at {brokers}: {source}; is the address right, and does a broker run there?"
    )]
    Unreachable { topic: String, brokers: String, source: Box<KafkaError> },
    #[error("there is no topic {topic}: create it with `outhook topics create`")]
    NoTopic { topic: String },
    #[error(
        "topic {topic} has {partitions} partitions, and its records have an order only in one: make it anew with `outhook topics create`"
    )]
    Partitions { topic: String, partitions: usize },
    #[error(
        "topic {topic} could not be read to its end: nothing came for {seconds} seconds; the last trouble was: {trouble}"
    )]
    Stalled { topic: String, seconds: u64, trouble: String },
    #[error("the thread that follows the definitions can't be started: {0}")]
    Thread(std::io::Error),
    #[error("the definitions are no longer followed: the store was stopped")]
    Stopped,
}
