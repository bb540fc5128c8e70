//! Names one partition within the topics that a source reads.

/// A partition: its topic and number.
pub(super) type PartitionKey = (String, i32);
