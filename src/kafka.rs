//! What all rooms that talk to Kafka share: why brokers do not answer, and topics read back from their ends.

pub mod errors;
pub mod topic_reader;
