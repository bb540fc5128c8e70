//! The Kafka client. Other rooms do not name the client library, except `source`, which has the consumer of the group.

pub mod admin;
pub mod errors;
pub mod log_follower;
pub mod producer;
pub mod settings;
mod topic_consumer;
pub mod topic_reader;

pub use rdkafka::ClientConfig;
pub use rdkafka::error::KafkaError;
pub use rdkafka::types::RDKafkaErrorCode as ErrorCode;

pub use self::topic_consumer::TopicError;
