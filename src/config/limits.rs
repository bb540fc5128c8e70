//! The small sections: `[limits]`, `[memory]`, `[drain]` and `[render]`.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

use super::ConfigProblem;
use crate::definition::rules;
use crate::render::AttachmentUrl;

/// What accounts may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most calls a second that a webhook's CallThrottling may allow. A webhook without one is shown with it, and is not throttled. Default 1000000.
    pub call_throttling: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        let most = rules::DefinitionLimits::default().call_throttling;
        Self { call_throttling: NonZeroU32::new(most).expect("the default allows calls") }
    }
}

/// What may be in memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// MiB of rendered messages that may wait or be under way, over all partitions and endpoints. At the limit partitions wait. Default 256.
    pub budget_mib: u64,
    /// Records of one partition that may be read and not yet settled behind the oldest that is still under way. At the limit the partition waits. Default 500000.
    pub max_open_records: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget_mib: 256, max_open_records: 500_000 }
    }
}

impl Memory {
    pub fn budget_bytes(&self) -> u64 {
        self.budget_mib.saturating_mul(1024 * 1024)
    }

    /// What librdkafka may fetch ahead, in KiB. It counts a partition, since each has a queue of its own:
    /// a thirty-second of the budget leaves it smaller than the messages even with many partitions.
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
            .map(|(key, _)| {
                ConfigProblem::with(
                    key,
                    format!("{key} is 0, so no record could ever be read"),
                    "give it a value over 0, or leave it out",
                )
            })
            .collect()
    }
}

/// How a stop behaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long a stop, or a partition that is taken away, waits for calls under way. What is not settled by then is left uncommitted and comes again. Default 10s.
    #[serde(with = "duration::required")]
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10) }
    }
}

/// What is put into messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Render {
    /// The URL of an attachment, `[@field:Name/]` in a template: a pattern with {account}, {table}, {field} and {value}. Without one such a parameter is null. Default none.
    pub attachment_url: Option<String>,
}

impl Render {
    pub(super) fn problems(&self) -> Option<ConfigProblem> {
        let bad = self.attachment_url.as_deref()?.parse::<AttachmentUrl>().err()?;
        let help = "such as https://files.example.com/{account}/{table}/{field}/{value}";
        Some(ConfigProblem::with("render.attachment_url", format!("render.attachment_url: {bad}"), help))
    }
}
