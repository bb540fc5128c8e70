//! Status of the definitions follower, for health, `check` and metrics.

use std::collections::BTreeMap;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::definition::DefinitionKey;

/// Registers the store's metrics with their units and descriptions.
pub fn describe_metrics() {
    describe_gauge!("outhook_definitions", Unit::Count, "Definitions known, by kind");
    describe_gauge!(
        "outhook_definitions_bad",
        Unit::Count,
        "Definition records that can't be used; `check` names them"
    );
    describe_counter!("outhook_definition_records_total", Unit::Count, "Records read from the definitions topic");
    describe_counter!(
        "outhook_definition_records_bad_total",
        Unit::Count,
        "Records of the definitions topic that are not valid definitions"
    );
    describe_gauge!(
        "outhook_definitions_last_change_timestamp_seconds",
        Unit::Seconds,
        "When the newest definition record was written, since 1970"
    );
}

/// Max bad definitions that a status lists.
const MAX_LISTED_BAD: usize = 100;

/// Status of the definitions follower.
#[derive(Debug, Clone, Default)]
pub struct FollowStatus {
    /// Whether the log has been read to its end once.
    pub caught_up: bool,
    /// Whether a secret is sealed with a key that is not configured here. The definitions are incomplete then.
    pub locked_out: bool,
    /// Records read since the start.
    pub records: u64,
    /// Records read of a kind that this version does not know.
    pub ignored: u64,
    pub webhooks: usize,
    pub events: usize,
    /// First bad definitions, by key.
    pub bad: Vec<BadDefinition>,
    /// Number of bad definitions.
    pub bad_total: usize,
    /// Kafka timestamp of the last record, in milliseconds since 1970.
    pub last_change: Option<i64>,
}

/// A definition that can't be used until its record is replaced or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDefinition {
    /// Key of the record, such as `webhook/…` or `event/…`, as far as it is text.
    pub key: String,
    /// Offset in the definitions topic of a record that can't be read. None for a definition that can't be compiled.
    pub offset: Option<i64>,
    pub reason: String,
}

impl FollowStatus {
    /// Lists the bad definitions: first records that can't be read, then definitions that can't be compiled.
    pub(super) fn list_bad<'f>(
        &mut self,
        unread: &BTreeMap<String, BadDefinition>,
        failed: impl ExactSizeIterator<Item = (&'f DefinitionKey, &'f String)>,
    ) {
        self.bad_total = unread.len() + failed.len();
        let failed =
            failed.map(|(key, reason)| BadDefinition { key: key.to_string(), offset: None, reason: reason.clone() });
        self.bad = unread.values().cloned().chain(failed).take(MAX_LISTED_BAD).collect();
    }

    pub(super) fn publish_metrics(&self) {
        gauge!("outhook_definitions", "kind" => "webhook").set(self.webhooks as f64);
        gauge!("outhook_definitions", "kind" => "event").set(self.events as f64);
        gauge!("outhook_definitions_bad").set(self.bad_total as f64);
        counter!("outhook_definition_records_total").absolute(self.records);
        if let Some(at) = self.last_change {
            gauge!("outhook_definitions_last_change_timestamp_seconds").set(at as f64 / 1000.0);
        }
    }
}
