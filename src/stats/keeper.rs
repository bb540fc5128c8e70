//! Thread that keeps counts and catalogue: follows the stats topic and writes local changes to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::watch;

use super::StatsState;
use super::record::{self, HourCount, InvalidCount};
use super::writer::{StatsRecord, StatsWriter};
use crate::catalogue;
use crate::endpoints::{self, ORDER_PREFIX, REPORT_PREFIX};
use crate::kafka::errors;
use crate::kafka::log_follower::{LogEvent, LogFollower};
use crate::telemetry::RepeatFilter;
use crate::time::now_ms;

/// Max wait for a record before the thread does its other work.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Interval at which the catalogue's clock is set.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between writes of counts. A kill loses at most the counts of one interval.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);
/// Max counts in one batch.
const MAX_BATCH: usize = 10_000;
/// Max time for the last write at a stop.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of the check that the topic is still the one that was read.
const REREAD_INTERVAL: Duration = Duration::from_secs(30);

pub(super) struct StatsKeeper {
    topic: String,
    writer: StatsWriter,
    state: Arc<StatsState>,
    caught_up: watch::Sender<bool>,
    last_tick: Instant,
    last_write: Instant,
    /// Last count of a batch, while there may be more to write.
    resume_after: Option<HourCount>,
    last_reread: Instant,
    repeat_filter: RepeatFilter,
}

impl StatsKeeper {
    pub fn new(topic: String, writer: StatsWriter, shared: Arc<StatsState>, caught_up: watch::Sender<bool>) -> Self {
        shared.catalogue.set_clock(now_ms());
        shared.sums().advance_to(hours_since_epoch(now_ms()));
        let now = Instant::now();
        let repeats = RepeatFilter::default();
        Self {
            topic,
            writer,
            state: shared,
            caught_up,
            last_tick: now,
            last_write: now,
            resume_after: None,
            last_reread: now,
            repeat_filter: repeats,
        }
    }

    /// Follows the topic and writes changes until `stop` is set, then writes the rest.
    pub fn run(mut self, mut log: LogFollower, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.process_next_event(&mut log);
            self.tick();
            if self.writer.is_idle() {
                self.write_retry_orders();
                if self.resume_after.is_some() {
                    self.write_counts();
                } else if self.last_write.elapsed() >= WRITE_INTERVAL {
                    self.write(false);
                }
            }
            self.handle_outcomes(Duration::ZERO);
        }
        self.write_final();
    }

    fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Handles the next event of the topic.
    fn process_next_event(&mut self, log: &mut LogFollower) {
        if self.is_caught_up() && self.last_reread.elapsed() >= REREAD_INTERVAL {
            self.last_reread = Instant::now();
            let _ = log.look_back();
        }
        match log.next(POLL_TIMEOUT) {
            LogEvent::Record(record) => {
                let read = apply_record(&self.state, record.key(), record.value());
                let offset = record.offset();
                if let Err(reason) = read {
                    counter!("outhook_stats_records_bad_total").increment(1);
                    self.log_problem(&format!("it has a bad record at offset {offset}, which is skipped: {reason}"));
                }
            }
            LogEvent::End => {
                self.caught_up.send_replace(true);
            }
            LogEvent::Remade => self.restart_from_beginning(log),
            LogEvent::Nothing => {}
            LogEvent::Trouble(error) => {
                self.log_problem(&format!("it can't be read for now: {}", errors::error_text(&error)))
            }
        }
    }

    /// Counts and tables that were read stay valid when the topic is recreated or truncated. The instance writes
    /// again what it knows.
    fn restart_from_beginning(&mut self, log: &mut LogFollower) {
        tracing::warn!("the stats topic {} was recreated or truncated: it is read from its start", self.topic);
        self.state.sums().mark_all_unwritten();
        self.state.catalogue.mark_all_unwritten();
        if let Err(error) = log.restart() {
            tracing::error!("the stats topic can't be read from its start: {error}");
        }
    }

    fn tick(&mut self) {
        if self.last_tick.elapsed() >= CLOCK_INTERVAL {
            self.last_tick = Instant::now();
            self.state.catalogue.set_clock(now_ms());
            self.state.endpoints.drop_old(now_ms());
        }
    }

    /// Starts sending what the topic may lack. A table is sent at most once a minute, except when `last` is set. No
    /// table is sent before the topic has been read, because the topic may have it.
    fn write(&mut self, last: bool) {
        self.last_write = Instant::now();
        self.state.collect(hours_since_epoch(now_ms()));
        gauge!("outhook_stats_unwritten").set(self.state.sums().unwritten_len() as f64);
        self.resume_after = None;
        self.write_counts();
        self.write_retry_orders();
        if let Some(report) = self.state.endpoints.unwritten_report(now_ms()) {
            self.writer.send(StatsRecord::Report(report));
        }
        if self.is_caught_up() {
            let tables = self.state.catalogue.unwritten(last);
            tables.into_iter().for_each(|table| self.writer.send(StatsRecord::Table(table)));
        }
    }

    /// Sends the next batch of counts.
    fn write_counts(&mut self) {
        let counts = self.state.sums().unwritten(self.resume_after.as_ref(), MAX_BATCH);
        self.resume_after = counts.last().filter(|_| counts.len() == MAX_BATCH).copied();
        counts.into_iter().for_each(|count| self.writer.send(StatsRecord::Count(count)));
    }

    /// Sends retry orders that came from a request or from an endpoint that works again. They are not delayed,
    /// because calls wait for them.
    fn write_retry_orders(&mut self) {
        let orders = self.state.endpoints.take_unwritten_orders(now_ms());
        orders.into_iter().for_each(|order| self.writer.send(StatsRecord::Order(order)));
    }

    /// Handles the outcomes of sent records. Waits up to `wait` for them.
    fn handle_outcomes(&mut self, wait: Duration) {
        for (written, outcome) in self.writer.take_outcomes(wait) {
            match (written, outcome) {
                (StatsRecord::Count(count), Ok(())) => self.state.sums().mark_written(&count),
                (StatsRecord::Table(_) | StatsRecord::Report(_) | StatsRecord::Order(_), Ok(())) => {}
                (written, Err(error)) => {
                    counter!("outhook_stats_write_failures_total").increment(1);
                    match written {
                        StatsRecord::Table(table) => table.mark_failed(),
                        StatsRecord::Order(order) => self.state.endpoints.requeue_order(order),
                        // A count is sent again until its write succeeds, and the next endpoint report replaces a
                        // failed one.
                        StatsRecord::Count(_) | StatsRecord::Report(_) => {}
                    }
                    self.log_problem(&format!(
                        "it does not accept records for now, so counts wait in memory: {}",
                        errors::error_text(&error)
                    ));
                }
            }
        }
    }

    fn write_final(&mut self) {
        let deadline = Instant::now() + FINAL_WRITE_TIMEOUT;
        let mut has_started = false;
        while Instant::now() < deadline {
            if self.writer.is_idle() {
                if has_started && self.state.sums().unwritten_len() == 0 {
                    return;
                }
                if has_started && self.resume_after.is_some() {
                    self.write_counts();
                } else {
                    self.write(!has_started);
                    has_started = true;
                }
            }
            self.handle_outcomes(POLL_TIMEOUT);
        }
        let lost = self.state.sums().unwritten_len();
        if lost > 0 {
            tracing::warn!(
                "the stats topic {} did not accept the last counts of {lost} events and hours within {FINAL_WRITE_TIMEOUT:?}",
                self.topic
            );
        }
    }

    fn log_problem(&mut self, trouble: &str) {
        // Texts that differ only in an offset count as the same.
        let kind = trouble.split(" offset ").next().unwrap_or(trouble);
        if let Some(more) = self.repeat_filter.due(kind, Instant::now()) {
            let topic = &self.topic;
            tracing::warn!(more, "the stats topic {topic}: {trouble}; `outhook topics check` shows its state");
        }
    }
}

/// A record of the topic is invalid. The text says why.
#[derive(Debug, thiserror::Error)]
enum InvalidRecord {
    #[error(transparent)]
    Count(#[from] InvalidCount),
    #[error(transparent)]
    Table(#[from] catalogue::InvalidRecord),
    #[error(transparent)]
    Order(#[from] endpoints::InvalidRecord),
}

/// Applies one record. Skips a record without a value, and a key that only a newer version knows.
fn apply_record(shared: &StatsState, key: &[u8], value: Option<&[u8]>) -> Result<(), InvalidRecord> {
    let (Ok(key), Some(value)) = (std::str::from_utf8(key), value) else { return Ok(()) };
    if let Some(key) = key.strip_prefix(record::COUNT_PREFIX) {
        let count = HourCount::parse(key, value)?;
        shared.sums().merge(count);
    } else if let Some(key) = key.strip_prefix(catalogue::TABLE_PREFIX) {
        shared.catalogue.merge_record(key, value)?;
    } else if let Some(key) = key.strip_prefix(ORDER_PREFIX) {
        shared.endpoints.apply_order(key, value, now_ms())?;
    } else if let Some(key) = key.strip_prefix(REPORT_PREFIX) {
        shared.endpoints.apply_report(key, value, now_ms());
    }
    Ok(())
}

/// Hours since 1970.
fn hours_since_epoch(ms: i64) -> u32 {
    u32::try_from(ms / (60 * 60 * 1000)).unwrap_or_default()
}
