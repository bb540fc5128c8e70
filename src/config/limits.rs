//! The small sections: `[limits]`, `[memory]`, `[drain]` and `[render]`.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

use super::ConfigProblem;
use crate::definition::rules;
use crate::render::AttachmentUrl;

/// Limits of the settings that accounts choose.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Max value of a webhook's CallThrottling, in calls per second. A webhook without CallThrottling is not
    /// throttled; this value is shown for it. Default 1000000.
    pub call_throttling: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        let most = rules::DefinitionLimits::default().max_call_throttling;
        Self { call_throttling: NonZeroU32::new(most).expect("the default allows calls") }
    }
}

/// Memory limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Max MiB of rendered messages that wait or are under way, over all partitions and endpoints. At the limit
    /// partitions pause. Default 256.
    pub budget_mib: u64,
    /// Max records of one partition that are read and not yet in the settled prefix, counted from the oldest that is
    /// under way. At the limit the partition pauses. Default 500000.
    pub max_open_records: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget_mib: 256, max_open_records: 500_000 }
    }
}

pub(super) const NO_RECORDS: &str = "is 0, so no record could ever be read";
pub(super) const OVER_ZERO: &str = "set it to a value over 0, or remove it";

impl Memory {
    pub fn budget_bytes(&self) -> u64 {
        self.budget_mib.saturating_mul(1024 * 1024)
    }

    /// Max KiB that librdkafka fetches ahead per partition, because each partition has a separate queue. With a
    /// thirty-second of the budget, the queues stay smaller than the messages even with many partitions.
    pub(super) fn fetch_queue_kib(&self) -> u64 {
        // librdkafka accepts 1 to 2097151.
        self.budget_mib.saturating_mul(32).clamp(1024, 65_536)
    }

    pub(super) fn problems(&self) -> Vec<ConfigProblem> {
        let values =
            [("memory.budget_mib", self.budget_mib), ("memory.max_open_records", self.max_open_records as u64)];
        values
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| ConfigProblem::of_key(key, NO_RECORDS, OVER_ZERO))
            .collect()
    }
}

/// Draining at a stop or a rebalance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Max time that a stop or a revoked partition waits for calls under way. Records that are not settled by then
    /// stay uncommitted and are read again. Default 10s.
    #[serde(with = "duration::required")]
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10) }
    }
}

/// Contents of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Render {
    /// URL pattern of attachments, `[@field:Name/]` in a template, with {account}, {table}, {field} and {value}.
    /// Without a pattern such a parameter is null. Default none.
    pub attachment_url: Option<String>,
}

impl Render {
    pub(super) fn problems(&self) -> Option<ConfigProblem> {
        let bad = self.attachment_url.as_deref()?.parse::<AttachmentUrl>().err()?;
        let help = "set it to a pattern such as https://files.example.com/{account}/{table}/{field}/{value}";
        Some(ConfigProblem::new("render.attachment_url", format!("render.attachment_url: {bad}"), help))
    }
}
