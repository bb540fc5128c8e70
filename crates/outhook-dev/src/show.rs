//! The display loop: reads the oracle once a second and shows a report, while other work runs.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::display::{Display, Ready, Style};
use super::latency::Latencies;
use super::log_buffer::Notes;
use super::oracle::Oracle;
use super::recent_messages::Glimpses;
use super::report::{DevReport, Summary};

const SECOND: Duration = Duration::from_secs(1);

/// Sources of the report.
pub struct Sights {
    pub oracle: Arc<Mutex<Oracle>>,
    pub glimpses: Arc<Glimpses>,
    /// Sample changes made.
    pub made: Arc<AtomicU64>,
    pub notes: Notes,
    /// Renders the metrics of the program in the text format of Prometheus.
    pub metrics: Box<dyn Fn() -> String + Send>,
}

/// Shows a report each second.
pub struct Show {
    sights: Sights,
    display: Display,
    start: Instant,
    seconds: Interval,
    last: PreviousReport,
}

/// Values of the previous report, for rates.
struct PreviousReport {
    at: Instant,
    changes: u64,
    messages: u64,
}

impl Show {
    /// Shows the addresses, and starts the one-second interval.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn start(sights: Sights, style: Style, ready: &Ready) -> io::Result<Self> {
        let mut display = Display::new(style);
        display.ready(ready)?;
        let start = Instant::now();
        let mut seconds = interval_at(start + SECOND, SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { sights, display, start, seconds, last: PreviousReport { at: start, changes: 0, messages: 0 } })
    }

    /// Shows a report each second until `work` is done.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub async fn during<W: Future>(&mut self, work: W) -> io::Result<W::Output> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                _ = self.seconds.tick() => self.second()?,
                done = &mut work => return Ok(done),
            }
        }
    }

    pub fn oracle(&self) -> Arc<Mutex<Oracle>> {
        self.sights.oracle.clone()
    }

    /// Evaluates the whole run and shows the summary, after the last message. `drained` says whether all work in
    /// flight has ended; `must_deliver`, whether a run without a message fails.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn end(mut self, fed_for: Duration, drained: bool, must_deliver: bool) -> io::Result<Summary> {
        let all = {
            let mut oracle = self.sights.oracle.lock();
            oracle.close();
            oracle.latencies().clone()
        };
        let start = PreviousReport { at: self.start, changes: 0, messages: 0 };
        let report = self.report(fed_for, &start, &all);
        let ok = drained && report.tally.is_clean() && (report.tally.delivered > 0 || !must_deliver);
        let summary = Summary { ok, drained, report };
        self.display.summary(&summary)?;
        Ok(summary)
    }

    fn second(&mut self) -> io::Result<()> {
        let recent = {
            let mut oracle = self.sights.oracle.lock();
            oracle.look_for_overdue(Timestamp::now());
            oracle.take_latencies()
        };
        let now = Instant::now();
        let report = self.report(now.duration_since(self.last.at), &self.last, &recent);
        self.last = PreviousReport { at: now, changes: report.changes, messages: report.tally.messages() };
        self.display.second(&report, &self.sights.glimpses.all(), &self.sights.notes.take())
    }

    /// The report now, with rates over `passed`, the time since `last`.
    fn report(&self, passed: Duration, last: &PreviousReport, latencies: &Latencies) -> DevReport {
        let (tally, outstanding) = {
            let oracle = self.sights.oracle.lock();
            (oracle.tally(), oracle.outstanding())
        };
        let changes = self.sights.made.load(Ordering::Relaxed);
        let per_second = |count: u64| (count as f64 / passed.as_secs_f64().max(0.001)).round() as u64;
        DevReport {
            elapsed: self.start.elapsed(),
            changes,
            changes_per_second: per_second(changes - last.changes),
            messages_per_second: per_second(tally.messages() - last.messages),
            tally,
            failed_attempts: failed_attempts(&(self.sights.metrics)()),
            outstanding,
            latency: latencies.into(),
        }
    }
}

/// Attempts without a 2xx response, read from the metrics as Prometheus would.
fn failed_attempts(metrics: &str) -> u64 {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix("outhook_attempts_total{"))
        .filter(|line| !line.contains("\"status_2xx\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_attempts_are_all_but_2xx() {
        let metrics = "# HELP outhook_attempts_total Attempts (HTTP requests), by the class of their result\n\
                       # TYPE outhook_attempts_total counter\n\
                       outhook_attempts_total{class=\"status_2xx\"} 17\n\
                       outhook_attempts_total{class=\"status_5xx\"} 3\n\
                       outhook_attempts_total{class=\"connect\"} 2\n\
                       outhook_calls_total{outcome=\"exhausted\"} 1\n";
        assert_eq!(failed_attempts(metrics), 5);
    }
}
