//! Clients that write. They differ in how the outcome of a record is reported: by a future ([`AwaitedProducer`]), a
//! callback ([`RecoveringProducer`]), the next poll ([`PolledProducer`]), the end of a transaction
//! ([`TransactionalProducer`]), or only if it failed ([`BackgroundProducer`]).

mod awaited;
mod background;
mod polled;
mod record;
mod recovering;
mod transactional;

use rdkafka::ClientConfig;

pub use self::awaited::{AwaitedProducer, Delivery};
pub use self::background::BackgroundProducer;
pub use self::polled::PolledProducer;
pub use self::record::{Headers, NewRecord};
pub use self::recovering::{RecoveringProducer, Report};
pub use self::transactional::TransactionalProducer;

/// Settings of a producer whose records count as written when all in-sync replicas have them. `client` has the
/// connection settings. A record that is not written within `timeout_ms` has failed.
pub fn settings(client: &ClientConfig, timeout_ms: &str) -> ClientConfig {
    let mut settings = client.clone();
    settings
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("message.timeout.ms", timeout_ms);
    settings
}

/// The same with one record per batch. A topic's max.message.bytes limits batches. So only a batch of one record shows
/// which record is too large, and no record is refused for the size of another.
pub fn alone(settings: &ClientConfig) -> ClientConfig {
    let mut settings = settings.clone();
    settings.set("batch.num.messages", "1");
    settings
}
