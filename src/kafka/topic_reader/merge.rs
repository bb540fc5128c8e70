//! Merges partitions by time, from the newest record backwards. Pure: it returns which chunks to read next, and takes
//! the records found in them.
//!
//! A log can only be read forward, so each partition is read in chunks, the last one first, and the records of a
//! chunk are reversed. Partitions go back through time together: a found record is returned once each other partition
//! has one as well, is at its end, or is known to hold only older ones. So a page has no gaps, even if the found
//! records are rare.

use std::collections::VecDeque;

use super::TopicCursor;

/// Offsets in a partition's first chunk; few, because records may be large.
const FIRST_CHUNK: i64 = 64;
/// Max offsets in a chunk, after many small records.
const MAX_CHUNK: i64 = 16 * 1024;

/// All partitions of a topic, by their numbers.
pub(super) struct PartitionMerge<T> {
    partitions: Vec<PartitionScan<T>>,
    /// Max bytes of a chunk, unless it is a single record.
    chunk_bytes: u64,
    /// A partition is at its end once it has reached a record older than this.
    since_ms: i64,
}

/// The offsets of a partition to scan: from the first, and below the second.
pub(super) type Span = (i64, i64);

struct PartitionScan<T> {
    /// No offset below this one is scanned.
    floor: i64,
    /// All offsets from this one on were scanned.
    scanned_from: i64,
    /// Found records that were not returned yet, the newest first.
    found: VecDeque<FoundRecord<T>>,
    /// Timestamp of the oldest scanned record.
    reached_ms: i64,
    /// Offsets in the next chunk.
    chunk_offsets: i64,
}

struct FoundRecord<T> {
    offset: i64,
    timestamp_ms: i64,
    value: T,
}

/// The next step.
pub(super) enum MergeStep<T> {
    /// The newest of all records that were not returned yet.
    Found(T),
    /// Chunks to read and to pass to [`PartitionMerge::add_chunk`].
    Read(Vec<Chunk<T>>),
    /// All records were returned.
    End,
}

/// Some offsets of a partition, read from the first to the last.
pub(super) struct Chunk<T> {
    pub partition: usize,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub end: i64,
    pub state: ChunkState,
    found: Vec<FoundRecord<T>>,
    oldest_ms: Option<i64>,
    bytes: u64,
}

/// How far a chunk was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkState {
    Reading,
    /// All of it was scanned.
    Complete,
    /// It has too many bytes: a smaller one must be read instead.
    TooLarge,
}

impl<T> PartitionMerge<T> {
    /// `chunk_bytes` limits the memory of a chunk; several are read together, one per partition.
    pub fn new(spans: &[Span], since_ms: Option<i64>, chunk_bytes: u64) -> Self {
        let partition = |&(floor, before): &Span| PartitionScan {
            floor,
            scanned_from: before.max(floor),
            found: VecDeque::new(),
            reached_ms: i64::MAX,
            chunk_offsets: FIRST_CHUNK,
        };
        let since_ms = since_ms.unwrap_or(i64::MIN);
        Self { partitions: spans.iter().map(partition).collect(), chunk_bytes, since_ms }
    }

    pub fn next(&mut self) -> MergeStep<T> {
        let newest =
            |(number, partition): (usize, &PartitionScan<T>)| Some((partition.found.front()?.timestamp_ms, number));
        let newest = self.partitions.iter().enumerate().filter_map(newest).max();
        let may_be_newer = |partition: &PartitionScan<T>| newest.is_none_or(|(at, _)| partition.reached_ms > at);
        let unknown =
            self.partitions.iter().enumerate().filter(|(_, partition)| {
                partition.found.is_empty() && !partition.is_at_end() && may_be_newer(partition)
            });
        let chunks: Vec<_> = unknown.map(|(number, partition)| partition.next_chunk(number)).collect();
        if !chunks.is_empty() {
            return MergeStep::Read(chunks);
        }
        let found = newest.and_then(|(_, number)| self.partitions[number].found.pop_front());
        found.map_or(MergeStep::End, |found| MergeStep::Found(found.value))
    }

    /// Takes a chunk that was read. A chunk that was not read to its end is dropped, because its newest records are
    /// missing.
    pub fn add_chunk(&mut self, chunk: Chunk<T>) {
        let partition = &mut self.partitions[chunk.partition];
        match chunk.state {
            ChunkState::Reading => {}
            ChunkState::TooLarge => partition.chunk_offsets = (partition.chunk_offsets / 4).max(1),
            ChunkState::Complete => {
                if chunk.bytes < self.chunk_bytes / 4 {
                    partition.chunk_offsets = (partition.chunk_offsets * 2).min(MAX_CHUNK);
                }
                partition.scanned_from = chunk.from;
                partition.found.extend(chunk.found.into_iter().rev());
                partition.reached_ms = chunk.oldest_ms.unwrap_or(partition.reached_ms);
                if partition.reached_ms < self.since_ms {
                    partition.floor = partition.scanned_from;
                }
            }
        }
    }

    /// Max bytes of a chunk.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Where the next page begins; None when all records were returned.
    pub fn cursor(&self) -> Option<TopicCursor> {
        let at_end = |partition: &PartitionScan<T>| partition.found.is_empty() && partition.is_at_end();
        if self.partitions.iter().all(at_end) {
            return None;
        }
        Some(TopicCursor::new(self.partitions.iter().map(PartitionScan::position).collect()))
    }
}

impl<T> PartitionScan<T> {
    fn is_at_end(&self) -> bool {
        self.scanned_from <= self.floor
    }

    /// The offset below which all records are that were not returned yet.
    fn position(&self) -> i64 {
        match self.found.front() {
            Some(found) => found.offset + 1,
            // A partition at its end stays there, even if the next page has another range.
            None if self.is_at_end() => 0,
            None => self.scanned_from,
        }
    }

    fn next_chunk(&self, partition: usize) -> Chunk<T> {
        let from = (self.scanned_from - self.chunk_offsets).max(self.floor);
        Chunk::new(partition, (from, self.scanned_from))
    }
}

impl<T> Chunk<T> {
    pub fn new(partition: usize, (from, before): Span) -> Self {
        Self { partition, from, end: before, state: ChunkState::Reading, found: Vec::new(), oldest_ms: None, bytes: 0 }
    }

    /// Whether a record of this offset belongs to the chunk, and is still needed.
    pub fn needs(&self, offset: i64) -> bool {
        self.state == ChunkState::Reading && (self.from..self.end).contains(&offset)
    }

    /// Takes the next record, with its size and the value made of it.
    pub fn add_record(&mut self, (offset, timestamp_ms): (i64, i64), bytes: u64, what: Option<T>, chunk_bytes: u64) {
        self.bytes += bytes;
        self.oldest_ms.get_or_insert(timestamp_ms);
        self.found.extend(what.map(|what| FoundRecord { offset, timestamp_ms, value: what }));
        if self.bytes > chunk_bytes && self.end - self.from > 1 {
            self.state = ChunkState::TooLarge;
        } else if offset + 1 >= self.end {
            self.state = ChunkState::Complete;
        }
    }

    /// Ends the chunk: its last offsets hold no records, or the partition ends before them.
    pub fn finish(&mut self) {
        if self.state == ChunkState::Reading {
            self.state = ChunkState::Complete;
        }
    }

    /// The first record that was found in it.
    pub fn into_first(self) -> Option<T> {
        self.found.into_iter().next().map(|found| found.value)
    }
}

#[cfg(test)]
mod tests;
