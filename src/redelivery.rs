//! Sends again on request: `redrive` sends dead letters, `resend` logged messages, and `replay` the messages of past
//! row changes. Each call is written to the first retry topic, due now. Running instances send it.

mod redrive;
mod redrive_markers;
mod redrive_plan;
pub mod replay;
mod resend;
mod retry_topic_producer;

pub use self::redrive::{RedriveOptions, RedriveOutcomes, Redriver, SkipReason};
pub use self::redrive_markers::RedriveMarkers;
pub use self::redrive_plan::RedrivePlan;
pub use self::resend::{ResendError, Resender};
pub use self::retry_topic_producer::{RetryTopicProducer, UnacknowledgedCall};
