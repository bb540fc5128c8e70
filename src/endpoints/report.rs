//! The records about endpoints in the stats topic; pure.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::StatsTopicRecord;
use crate::deliver::{BreakerPhase, LaneStatus};
use crate::id::Line;

/// Prefix of the keys of reports. The run's name follows.
pub const REPORT_PREFIX: &str = "endpoints/";
/// Prefix of the keys of orders. The line follows, as 16 hexadecimal digits.
pub const ORDER_PREFIX: &str = "retry-now/";

/// Label of the overflow log, as of a topic where calls wait.
pub const OVERFLOW_PLACE: &str = "overflow";

/// Max endpoints in one report: about 100 kB. Failing endpoints and endpoints with the most calls come first.
const MAX_REPORTED_ENDPOINTS: usize = 500;
/// Max length of the text of a cause, in characters.
const MAX_CAUSE_CHARS: usize = 200;

/// Max difference between the times of an outage and those of the calls that were deferred in it, in milliseconds.
/// They are from the clocks of different instances, and are rounded.
const MAX_CLOCK_SKEW_MS: i64 = 1000;

/// A record of the stats topic is not a report or an order. The text says why.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecord {
    #[error("invalid endpoint report: {0}")]
    Report(#[source] serde_json::Error),
    #[error("invalid key {ORDER_PREFIX}{0}: the line is not a hexadecimal number")]
    OrderKey(String),
    /// Contains the key.
    #[error("invalid value of {ORDER_PREFIX}{0}: expected one or two numbers of milliseconds")]
    OrderValue(String),
}

/// The status of the endpoints of one instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointsReport {
    /// When it was made, milliseconds since 1970.
    pub at_ms: i64,
    pub lanes: Vec<LaneReport>,
    pub waiting: Vec<WaitingCalls>,
    /// Number of endpoints that there was no room for.
    pub left_out: usize,
}

/// The status of one lane.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LaneReport {
    #[serde(with = "hex")]
    pub line: Line,
    /// Since when the endpoint has only failed, milliseconds since 1970.
    pub fails_since_ms: Option<i64>,
    /// The same, but also set when the failure is too old to be shown. Another instance may see the end of the
    /// outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage_since_ms: Option<i64>,
    /// Class and text of its last failure.
    pub cause: Option<(String, String)>,
    pub is_failing: bool,
    pub breaker: BreakerStatus,
    pub concurrency: usize,
    pub under_way: usize,
    pub in_memory: usize,
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BreakerStatus {
    /// Calls pass.
    #[default]
    Closed,
    /// One call passes, to find out whether the endpoint works.
    Probing,
    /// Calls wait.
    Open,
}

/// The calls of a line that wait in a topic, in the partitions of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitingCalls {
    #[serde(with = "hex")]
    pub line: Line,
    /// [`OVERFLOW_PLACE`], or the delay of their retry topic, as in its name.
    #[serde(rename = "Place", default = "overflow")]
    pub topic_label: String,
    pub calls: usize,
    /// When the oldest of them was written there, milliseconds since 1970.
    pub oldest_ms: i64,
}

/// The label in reports of a version that reported only the overflow log.
fn overflow() -> String {
    OVERFLOW_PLACE.to_owned()
}

/// An order to retry the waiting calls of a line now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOrder {
    pub line: Line,
    /// The order covers calls that were written from this time on, milliseconds since 1970.
    pub from_ms: i64,
    /// When the order was given, milliseconds since 1970. It covers calls that were written until then.
    pub at_ms: i64,
}

impl EndpointsReport {
    /// The report of these lanes and calls.
    pub(super) fn of(mut lanes: Vec<LaneStatus>, mut waiting: Vec<WaitingCalls>, at_ms: i64) -> Self {
        let by_priority = |lane: &LaneStatus| std::cmp::Reverse((lane.is_failing, lane.in_memory));
        let left_out = lanes
            .len()
            .saturating_sub(MAX_REPORTED_ENDPOINTS)
            .max(waiting.len().saturating_sub(MAX_REPORTED_ENDPOINTS));
        lanes.sort_by_key(by_priority);
        lanes.truncate(MAX_REPORTED_ENDPOINTS);
        waiting.sort_by_key(|waiting| std::cmp::Reverse(waiting.calls));
        waiting.truncate(MAX_REPORTED_ENDPOINTS);
        let lanes = lanes.into_iter().map(|lane| LaneReport::of(lane, at_ms)).collect();
        Self { at_ms, lanes, waiting, left_out }
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.waiting.is_empty()
    }

    /// The record of a run's report.
    pub(super) fn record(&self, run: &str) -> StatsTopicRecord {
        let value = serde_json::to_string(self).expect("a report has only texts and numbers");
        StatsTopicRecord { key: format!("{REPORT_PREFIX}{run}"), value }
    }

    /// # Errors
    /// When the value is not a report.
    pub fn read(value: &[u8]) -> Result<Self, InvalidRecord> {
        serde_json::from_slice(value).map_err(InvalidRecord::Report)
    }
}

impl LaneReport {
    fn of(lane: LaneStatus, at_ms: i64) -> Self {
        let LaneStatus { line, trouble, outage, is_failing, breaker, concurrency, under_way, in_memory } = lane;
        let since = |lasted: std::time::Duration| at_ms - i64::try_from(lasted.as_millis()).unwrap_or(0);
        let breaker = match breaker {
            BreakerPhase::Closed => BreakerStatus::Closed,
            BreakerPhase::Open(_) => BreakerStatus::Open,
            BreakerPhase::Probing => BreakerStatus::Probing,
        };
        Self {
            line,
            fails_since_ms: trouble.as_ref().map(|(_, lasted)| since(*lasted)),
            outage_since_ms: outage.map(since),
            cause: trouble
                .map(|(cause, _)| (cause.class.to_owned(), cause.text.chars().take(MAX_CAUSE_CHARS).collect())),
            is_failing,
            breaker,
            concurrency,
            under_way,
            in_memory,
        }
    }
}

impl BreakerStatus {
    /// The name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerStatus::Closed => "closed",
            BreakerStatus::Probing => "probing",
            BreakerStatus::Open => "open",
        }
    }
}

impl RetryOrder {
    /// An order for all calls of a line that have been written by now.
    pub fn for_all_calls(line: Line, now_ms: i64) -> Self {
        Self { line, from_ms: i64::MIN, at_ms: now_ms }
    }

    /// An order for the calls that were written during an outage. The outage is in milliseconds since 1970, by the
    /// clocks of the instances that saw it. The order may reach into the future.
    pub fn for_outage(line: Line, outage_ms: RangeInclusive<i64>) -> Self {
        let (began, ended) = outage_ms.into_inner();
        Self { line, from_ms: began.saturating_sub(MAX_CLOCK_SKEW_MS), at_ms: ended.saturating_add(MAX_CLOCK_SKEW_MS) }
    }

    /// Key and value of its record: `from` and `at`, or only `at` if it covers all calls.
    pub fn record(self) -> StatsTopicRecord {
        let from = if self.from_ms == i64::MIN { String::new() } else { format!("{} ", self.from_ms) };
        StatsTopicRecord { key: format!("{ORDER_PREFIX}{:016x}", self.line.0), value: format!("{from}{}", self.at_ms) }
    }

    pub(super) fn read(key: &str, value: &[u8]) -> Result<Self, InvalidRecord> {
        let line = u64::from_str_radix(key, 16).map_err(|_| InvalidRecord::OrderKey(key.to_owned()))?;
        let value = std::str::from_utf8(value).unwrap_or_default();
        let (from_ms, at_ms) = match value.split_once(' ') {
            Some((from, at)) => (from.parse().ok(), at.parse().ok()),
            None => (Some(i64::MIN), value.parse().ok()),
        };
        let (Some(from_ms), Some(at_ms)) = (from_ms, at_ms) else {
            return Err(InvalidRecord::OrderValue(key.to_owned()));
        };
        Ok(Self { line: Line(line), from_ms, at_ms })
    }
}

/// A line as 16 hexadecimal digits: not every reader keeps JSON numbers of 64 bits exact.
mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::id::Line;

    pub fn serialize<S: Serializer>(line: &Line, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", line.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Line, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Line).map_err(D::Error::custom)
    }
}
