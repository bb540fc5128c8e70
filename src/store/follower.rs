//! Reads the definitions topic to its end, then follows it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::state::StoreState;
use crate::kafka::KafkaError;
use crate::kafka::errors;
use crate::kafka::log_follower::{LogEvent, LogFollower};

/// Max wait for a record before the follower checks for a stop.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Max time that a broker may hold a request open at the end of the log, and so the delay until the end is reported.
pub(in crate::store) const FETCH_WAIT: Duration = Duration::from_millis(100);
/// Interval of the check that the log is still the one that was read.
const REREAD_INTERVAL: Duration = Duration::from_secs(5);
/// Min interval between log lines about the same error.
const REPEAT_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the state at the end of the log.
pub(in crate::store) struct Follower {
    pub topic: String,
    pub log: LogFollower,
    pub state: Arc<StoreState>,
    pub stopping: CancellationToken,
}

impl Follower {
    /// Follows the log until the stop. While brokers are unreachable, the definitions do not change, and the client
    /// reconnects automatically.
    pub fn follow(mut self) {
        let mut last_reread = Instant::now();
        let mut logged_errors = LoggedErrors::default();
        while !self.stopping.is_cancelled() {
            if last_reread.elapsed() >= REREAD_INTERVAL {
                last_reread = Instant::now();
                let _ = self.log.look_back();
            }
            match self.log.next(POLL_TIMEOUT) {
                LogEvent::Record(record) => self.state.apply_record(&record),
                LogEvent::End => self.state.on_log_end(),
                LogEvent::Remade => {
                    tracing::warn!(
                        "the definitions topic {} was recreated or truncated: it is read from its start",
                        self.topic
                    );
                    self.state.restart();
                    if let Err(error) = self.log.restart() {
                        tracing::error!("the definitions topic can't be read from its start: {error}");
                    }
                }
                LogEvent::Nothing => {}
                LogEvent::Trouble(error) => logged_errors.report(&self.topic, &error),
            }
            self.state.apply_overdue_changes();
        }
    }
}

/// When each error was last logged.
#[derive(Default)]
struct LoggedErrors(HashMap<String, Instant>);

impl LoggedErrors {
    fn report(&mut self, topic: &str, error: &KafkaError) {
        let text = errors::error_text(error);
        if self.0.get(&text).is_some_and(|logged| logged.elapsed() < REPEAT_LOG_INTERVAL) {
            return;
        }
        let fix = if errors::is_missing_topic(error) { "; create it with `outhook topics create`" } else { "" };
        tracing::warn!("the definitions topic {topic} can't be read for now: {text}{fix}");
        self.0.insert(text, Instant::now());
    }
}
