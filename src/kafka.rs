//! Shared by all rooms that use Kafka: errors of clients and brokers, and reading topics back from their ends.

pub mod errors;
pub mod topic_reader;
