//! Sends again what somebody orders: `redrive` dead letters, `resend` messages of the log, and `replay` what past row
//! changes make. Each call is written to the first retry topic, due now; running instances send it.

mod redrive;
mod redrive_markers;
mod redrive_plan;
pub mod replay;
mod resend;
mod retry_topic_producer;

pub use self::redrive::{Outcomes, Redrive, RedriveOptions, Skipped};
pub use self::redrive_markers::RedriveMarkers;
pub use self::redrive_plan::RedrivePlan;
pub use self::resend::{NotResent, Resend};
pub use self::retry_topic_producer::{RetryTopicProducer, UnacknowledgedCall};
