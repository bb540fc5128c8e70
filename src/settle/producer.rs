//! Settings of the producers of calls and dead letters.

use std::time::Duration;

use crate::kafka::{ClientConfig, producer};
use crate::render::MAX_MESSAGE_BYTES;

/// Wait after a failed write. It doubles up to the longest.
pub(super) const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(100);
pub(super) const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Timeout of one write. After it the write counts as failed and is repeated.
pub(super) const WRITE_TIMEOUT_MS: &str = "30000";

/// Min interval between two log lines of failed writes.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Max size of the records that wait in the client to be sent, in KiB. It comes on top of the byte budget.
const CLIENT_QUEUE_KIB: &str = "32768";

/// Max size of a record: a message, and what headers and framing add.
pub const MAX_RECORD_BYTES: usize = MAX_MESSAGE_BYTES + 2 * 1024 * 1024;

/// Settings of a producer whose acknowledged records are really written. `client` has the connection settings.
pub fn settings(client: &ClientConfig, timeout_ms: &str) -> ClientConfig {
    let mut settings = producer::settings(client, timeout_ms);
    settings
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.kbytes", CLIENT_QUEUE_KIB)
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string());
    settings
}
