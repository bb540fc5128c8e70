//! The Kafka client. Other rooms do not name the client library, except `source`, which has the consumer of the group.

pub mod admin;
pub mod errors;
pub mod settings;
pub mod topic_reader;

pub use rdkafka::ClientConfig;
pub use rdkafka::error::KafkaError;
pub use rdkafka::types::RDKafkaErrorCode as ErrorCode;

/// Settings of a client that reads a topic's committed records to its end without a group. `client` has the connection
/// settings.
pub fn reader_settings(topic: &str, mut client: ClientConfig) -> ClientConfig {
    client
        // An assignment requires a group id, though the reader never joins a group or commits.
        .set("group.id", format!("{topic}.reader"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        // An offset that was deleted meanwhile resets to the oldest available record.
        .set("auto.offset.reset", "earliest")
        .set("allow.auto.create.topics", "false");
    client
}
