//! The counters of the pipeline. They are prepared once per partition, so that counting a record is one addition.

use std::collections::HashMap;

use metrics::{Counter, Unit, counter, describe_counter};

use crate::decode::{Ignored, Input, RowChange};
use crate::vocabulary::Operation;

/// Registers the pipeline's metrics with their units and descriptions.
pub fn describe_metrics() {
    let count = |name: &'static str, text: &'static str| describe_counter!(name, Unit::Count, text);
    count("outhook_row_changes_total", "Records decoded to a row change, by operation");
    count(
        "outhook_implausible_timestamps_total",
        "Row changes whose record has no timestamp, or one that can't be milliseconds since 1970, by topic",
    );
    count("outhook_ignored_records_total", "Well-formed records that fire nothing, by kind");
    count("outhook_decode_failures_total", "Records that could not be decoded and became dead letters, by topic");
    count(
        "outhook_updates_without_before_total",
        "Updates without the old row, by table; only tables with active events",
    );
    count(
        "outhook_retry_copies_total",
        "Records of waiting calls that were skipped as copies of earlier ones; a crash leaves such copies",
    );
    count("outhook_matches_total", "Row changes that fired an event, one for each event");
}

/// The counters of one partition.
pub struct Counters {
    pub matches: Counter,
    row_changes: [Counter; Operation::ALL.len()],
    /// By table. Only tables that were seen in this partition.
    updates_without_before: HashMap<Box<str>, Counter>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            matches: counter!("outhook_matches_total"),
            row_changes: Operation::ALL
                .map(|operation| counter!("outhook_row_changes_total", "operation" => operation.to_string())),
            updates_without_before: HashMap::new(),
        }
    }
}

impl Counters {
    pub fn count_ignored(&self, kind: Ignored) {
        counter!("outhook_ignored_records_total", "kind" => kind.as_str()).increment(1);
    }

    pub fn decode_failed(&self, topic: &str) {
        counter!("outhook_decode_failures_total", "topic" => topic.to_owned()).increment(1);
    }

    pub fn row_change(&self, input: &Input<'_>, change: &RowChange<'_>) {
        self.row_changes[change.operation as usize].increment(1);
        if !input.has_plausible_timestamp() {
            counter!("outhook_implausible_timestamps_total", "topic" => input.topic.to_owned()).increment(1);
        }
    }

    /// Counts by table only tables with rules. The name of any other table may be any text, and each name would
    /// create a series.
    pub fn row_change_with_rules(&mut self, change: &RowChange<'_>) {
        if change.operation == Operation::Update && change.before.is_none() {
            self.update_without_before(&change.table);
        }
    }

    fn update_without_before(&mut self, table: &str) {
        match self.updates_without_before.get(table) {
            Some(counter) => counter.increment(1),
            None => {
                let counter = counter!("outhook_updates_without_before_total", "table" => table.to_owned());
                counter.increment(1);
                self.updates_without_before.insert(table.into(), counter);
            }
        }
    }
}
