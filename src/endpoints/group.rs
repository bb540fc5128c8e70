//! Merges the reports of all instances; pure.

use std::collections::{BTreeMap, HashMap};

use super::report::{BreakerStatus, EndpointsReport};
use crate::id::Line;

/// An instance without a report for this time counts as gone, in milliseconds. It reports every 5 s.
pub const MAX_REPORT_AGE_MS: i64 = 20_000;

/// The newest report of each run.
#[derive(Debug, Default)]
pub struct GroupStatus {
    reports: HashMap<String, EndpointsReport>,
}

/// The status of an endpoint over the whole group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointStatus {
    /// Number of instances that send to it, or did until recently.
    pub instances: usize,
    /// Number of instances on which it counts as failing.
    pub failing_on: usize,
    /// Since when it has only failed on at least one instance, milliseconds since 1970.
    pub fails_since_ms: Option<i64>,
    /// Class and text of its last failure.
    pub cause: Option<(String, String)>,
    /// The most restrictive breaker of all instances.
    pub breaker: BreakerStatus,
    /// Max concurrent attempts, over all instances.
    pub concurrency: usize,
    pub under_way: usize,
    /// Calls in memory that are not under way.
    pub queued: usize,
    /// Calls that wait in topics, by label of the topic: [`super::OVERFLOW_PLACE`], or the delay of a retry topic.
    pub waiting: BTreeMap<String, usize>,
    /// When the oldest of them was written there, milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

impl EndpointStatus {
    /// The name of the state: fails, troubled, works, or idle.
    pub fn state(&self) -> &'static str {
        match self {
            Self { failing_on: 1.., .. } => "fails",
            Self { fails_since_ms: Some(_), .. } => "troubled",
            Self { instances: 0, .. } if self.waiting_calls() == 0 => "idle",
            _ => "works",
        }
    }

    /// Calls that wait in topics.
    pub fn waiting_calls(&self) -> usize {
        self.waiting.values().sum()
    }
}

impl GroupStatus {
    /// Stores a run's report, unless a newer one is known.
    pub fn apply_report(&mut self, run: &str, report: EndpointsReport) {
        if self.reports.get(run).is_none_or(|known| known.at_ms <= report.at_ms) {
            self.reports.insert(run.to_owned(), report);
        }
    }

    /// Removes the reports of instances that count as gone.
    pub fn drop_silent(&mut self, now_ms: i64) {
        self.reports.retain(|_, report| is_fresh(report, now_ms));
    }

    /// Number of endpoints that the reports had no room for.
    pub fn omitted_endpoints(&self, now_ms: i64) -> usize {
        self.fresh(now_ms).map(|report| report.left_out).sum()
    }

    /// The status of a line's endpoint.
    pub fn status(&self, line: Line, now_ms: i64) -> EndpointStatus {
        let mut status = EndpointStatus::default();
        for report in self.fresh(now_ms) {
            for lane in report.lanes.iter().filter(|lane| lane.line == line) {
                status.instances += 1;
                status.failing_on += usize::from(lane.is_failing);
                status.breaker = status.breaker.max(lane.breaker);
                status.concurrency += lane.concurrency;
                status.under_way += lane.under_way;
                status.queued += lane.in_memory.saturating_sub(lane.under_way);
                let is_first = lane.fails_since_ms.is_some_and(|since| status.fails_since_ms.is_none_or(|s| since < s));
                if is_first {
                    (status.fails_since_ms, status.cause) = (lane.fails_since_ms, lane.cause.clone());
                }
            }
            for waiting in report.waiting.iter().filter(|waiting| waiting.line == line) {
                *status.waiting.entry(waiting.topic_label.clone()).or_default() += waiting.calls;
                status.oldest_ms = Some(status.oldest_ms.map_or(waiting.oldest_ms, |ms| ms.min(waiting.oldest_ms)));
            }
        }
        status
    }

    /// Since when the endpoint of a line has only failed, on the instance where that began first.
    pub fn outage_since_ms(&self, line: Line, now_ms: i64) -> Option<i64> {
        let lanes = self.fresh(now_ms).flat_map(|report| &report.lanes).filter(|lane| lane.line == line);
        lanes.filter_map(|lane| lane.outage_since_ms).min()
    }

    fn fresh(&self, now_ms: i64) -> impl Iterator<Item = &EndpointsReport> {
        self.reports.values().filter(move |report| is_fresh(report, now_ms))
    }
}

fn is_fresh(report: &EndpointsReport, now_ms: i64) -> bool {
    now_ms.saturating_sub(report.at_ms) <= MAX_REPORT_AGE_MS
}
