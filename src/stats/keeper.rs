//! Thread that keeps counts and catalogue: follows the stats topic and writes local changes to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::watch;

use super::Shared;
use super::record::{self, Count, InvalidCount};
use super::writer::{StatsRecord, StatsWriter};
use crate::catalogue;
use crate::endpoints::{self, ORDER_PREFIX, REPORT_PREFIX};
use crate::kafka::errors;
use crate::kafka::log_follower::{LogEvent, LogFollower};
use crate::telemetry::RepeatFilter;
use crate::time::now_ms;

/// Max wait for a record before the thread does its other work.
const POLL: Duration = Duration::from_millis(100);
/// Interval at which the catalogue's clock is set.
const TICK: Duration = Duration::from_secs(1);
/// Interval between writes of counts. A kill loses at most the counts of one interval.
const WRITE: Duration = Duration::from_secs(5);
/// Max counts in one batch.
const BATCH: usize = 10_000;
/// Max time for the last write at a stop.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// Interval of the check that the topic is still the one that was read.
const LOOK_BACK: Duration = Duration::from_secs(30);

pub(super) struct Keeper {
    topic: String,
    writer: StatsWriter,
    shared: Arc<Shared>,
    caught_up: watch::Sender<bool>,
    ticked: Instant,
    wrote: Instant,
    /// Last count of a batch, while there may be more to write.
    more_after: Option<Count>,
    looked_back: Instant,
    repeats: RepeatFilter,
}

impl Keeper {
    pub fn new(topic: String, writer: StatsWriter, shared: Arc<Shared>, caught_up: watch::Sender<bool>) -> Self {
        shared.catalogue.tick(now_ms());
        shared.sums().move_to(hour(now_ms()));
        let now = Instant::now();
        let repeats = RepeatFilter::default();
        Self { topic, writer, shared, caught_up, ticked: now, wrote: now, more_after: None, looked_back: now, repeats }
    }

    /// Follows the topic and writes changes until `stop` is set, then writes the rest.
    pub fn keep(mut self, mut log: LogFollower, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.follow(&mut log);
            self.tick();
            if self.writer.is_idle() {
                self.write_orders();
                if self.more_after.is_some() {
                    self.write_counts();
                } else if self.wrote.elapsed() >= WRITE {
                    self.write(false);
                }
            }
            self.hear(Duration::ZERO);
        }
        self.write_the_last();
    }

    fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Handles the next event of the topic.
    fn follow(&mut self, log: &mut LogFollower) {
        if self.is_caught_up() && self.looked_back.elapsed() >= LOOK_BACK {
            self.looked_back = Instant::now();
            let _ = log.look_back();
        }
        match log.next(POLL) {
            LogEvent::Record(record) => {
                let read = learn(&self.shared, record.key(), record.value());
                let offset = record.offset();
                if let Err(reason) = read {
                    counter!("outhook_stats_records_bad_total").increment(1);
                    self.report(&format!("it has a bad record at offset {offset}, which is skipped: {reason}"));
                }
            }
            LogEvent::End => {
                self.caught_up.send_replace(true);
            }
            LogEvent::Remade => self.begin_anew(log),
            LogEvent::Nothing => {}
            LogEvent::Trouble(error) => self.report(&format!("it can't be read for now: {}", errors::told(&error))),
        }
    }

    /// Counts and tables that were read stay valid when the topic is recreated or truncated. The instance writes
    /// again what it knows.
    fn begin_anew(&mut self, log: &mut LogFollower) {
        tracing::warn!("the stats topic {} was recreated or truncated: it is read from its start", self.topic);
        self.shared.sums().write_all_again();
        self.shared.catalogue.write_all_again();
        if let Err(error) = log.restart() {
            tracing::error!("the stats topic can't be read from its start: {error}");
        }
    }

    fn tick(&mut self) {
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.shared.catalogue.tick(now_ms());
            self.shared.endpoints.forget_old(now_ms());
        }
    }

    /// Starts sending what the topic may lack. A table is sent at most once a minute, except when `last` is set. No
    /// table is sent before the topic has been read, because the topic may have it.
    fn write(&mut self, last: bool) {
        self.wrote = Instant::now();
        self.shared.collect(hour(now_ms()));
        gauge!("outhook_stats_unwritten").set(self.shared.sums().unwritten_len() as f64);
        self.more_after = None;
        self.write_counts();
        self.write_orders();
        if let Some(report) = self.shared.endpoints.unwritten_report(now_ms()) {
            self.writer.send(StatsRecord::Report(report));
        }
        if self.is_caught_up() {
            let tables = self.shared.catalogue.unwritten(last);
            tables.into_iter().for_each(|table| self.writer.send(StatsRecord::Table(table)));
        }
    }

    /// Sends the next batch of counts.
    fn write_counts(&mut self) {
        let counts = self.shared.sums().unwritten(self.more_after.as_ref(), BATCH);
        self.more_after = counts.last().filter(|_| counts.len() == BATCH).copied();
        counts.into_iter().for_each(|count| self.writer.send(StatsRecord::Count(count)));
    }

    /// Sends retry orders that came from a request or from an endpoint that works again. They are not delayed,
    /// because calls wait for them.
    fn write_orders(&mut self) {
        let orders = self.shared.endpoints.take_unwritten_orders(now_ms());
        orders.into_iter().for_each(|order| self.writer.send(StatsRecord::Order(order)));
    }

    /// Handles the outcomes of sent records. Waits up to `wait` for them.
    fn hear(&mut self, wait: Duration) {
        for (written, outcome) in self.writer.outcomes(wait) {
            match (written, outcome) {
                (StatsRecord::Count(count), Ok(())) => self.shared.sums().written(&count),
                (StatsRecord::Table(_) | StatsRecord::Report(_) | StatsRecord::Order(_), Ok(())) => {}
                (written, Err(error)) => {
                    counter!("outhook_stats_write_failures_total").increment(1);
                    match written {
                        StatsRecord::Table(table) => table.failed(),
                        StatsRecord::Order(order) => self.shared.endpoints.order_failed(order),
                        // A count is sent again until its write succeeds, and the next endpoint report replaces a
                        // failed one.
                        StatsRecord::Count(_) | StatsRecord::Report(_) => {}
                    }
                    self.report(&format!(
                        "it does not accept records for now, so counts wait in memory: {}",
                        errors::told(&error)
                    ));
                }
            }
        }
    }

    fn write_the_last(&mut self) {
        let deadline = Instant::now() + LAST_WRITE;
        let mut begun = false;
        while Instant::now() < deadline {
            if self.writer.is_idle() {
                if begun && self.shared.sums().unwritten_len() == 0 {
                    return;
                }
                if begun && self.more_after.is_some() {
                    self.write_counts();
                } else {
                    self.write(!begun);
                    begun = true;
                }
            }
            self.hear(POLL);
        }
        let lost = self.shared.sums().unwritten_len();
        if lost > 0 {
            tracing::warn!(
                "the stats topic {} did not accept the last counts of {lost} events and hours within {LAST_WRITE:?}",
                self.topic
            );
        }
    }

    fn report(&mut self, trouble: &str) {
        // Texts that differ only in an offset count as the same.
        let kind = trouble.split(" offset ").next().unwrap_or(trouble);
        if let Some(more) = self.repeats.due(kind, Instant::now()) {
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
fn learn(shared: &Shared, key: &[u8], value: Option<&[u8]>) -> Result<(), InvalidRecord> {
    let (Ok(key), Some(value)) = (std::str::from_utf8(key), value) else { return Ok(()) };
    if let Some(key) = key.strip_prefix(record::PREFIX) {
        let count = Count::parse(key, value)?;
        shared.sums().learn(count);
    } else if let Some(key) = key.strip_prefix(catalogue::PREFIX) {
        shared.catalogue.learn(key, value)?;
    } else if let Some(key) = key.strip_prefix(ORDER_PREFIX) {
        shared.endpoints.learn_order(key, value, now_ms())?;
    } else if let Some(key) = key.strip_prefix(REPORT_PREFIX) {
        shared.endpoints.learn_report(key, value, now_ms());
    }
    Ok(())
}

/// Hours since 1970.
fn hour(ms: i64) -> u32 {
    u32::try_from(ms / (60 * 60 * 1000)).unwrap_or_default()
}
