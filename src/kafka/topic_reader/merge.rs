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
const LARGEST_CHUNK: i64 = 16 * 1024;

/// All partitions of a topic, by their numbers.
pub(super) struct Merge<T> {
    partitions: Vec<Partition<T>>,
    /// Max bytes of a chunk, unless it is a single record.
    chunk_bytes: u64,
    /// A partition is at its end once it has reached a record older than this.
    since_ms: i64,
}

/// The offsets of a partition to scan: from the first, and below the second.
pub(super) type Span = (i64, i64);

struct Partition<T> {
    /// No offset below this one is scanned.
    floor: i64,
    /// All offsets from this one on were scanned.
    before: i64,
    /// Found records that were not returned yet, the newest first.
    found: VecDeque<FoundRecord<T>>,
    /// Timestamp of the oldest scanned record.
    reached_ms: i64,
    /// Offsets in the next chunk.
    chunk: i64,
}

struct FoundRecord<T> {
    offset: i64,
    timestamp_ms: i64,
    what: T,
}

/// The next step.
pub(super) enum MergeStep<T> {
    /// The newest of all records that were not returned yet.
    Found(T),
    /// Chunks to read and to pass to [`Merge::take`].
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
    pub before: i64,
    pub ended: Ended,
    found: Vec<FoundRecord<T>>,
    oldest_ms: Option<i64>,
    bytes: u64,
}

/// How far a chunk was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    NotYet,
    /// All of it was scanned.
    Whole,
    /// It has too many bytes: a smaller one must be read instead.
    TooLarge,
}

impl<T> Merge<T> {
    /// `chunk_bytes` limits the memory of a chunk; several are read together, one per partition.
    pub fn new(spans: &[Span], since_ms: Option<i64>, chunk_bytes: u64) -> Self {
        let partition = |&(floor, before): &Span| Partition {
            floor,
            before: before.max(floor),
            found: VecDeque::new(),
            reached_ms: i64::MAX,
            chunk: FIRST_CHUNK,
        };
        let since_ms = since_ms.unwrap_or(i64::MIN);
        Self { partitions: spans.iter().map(partition).collect(), chunk_bytes, since_ms }
    }

    pub fn next(&mut self) -> MergeStep<T> {
        let newest =
            |(number, partition): (usize, &Partition<T>)| Some((partition.found.front()?.timestamp_ms, number));
        let newest = self.partitions.iter().enumerate().filter_map(newest).max();
        let may_be_newer = |partition: &Partition<T>| newest.is_none_or(|(at, _)| partition.reached_ms > at);
        let unknown =
            self.partitions.iter().enumerate().filter(|(_, partition)| {
                partition.found.is_empty() && !partition.is_at_end() && may_be_newer(partition)
            });
        let chunks: Vec<_> = unknown.map(|(number, partition)| partition.next_chunk(number)).collect();
        if !chunks.is_empty() {
            return MergeStep::Read(chunks);
        }
        let found = newest.and_then(|(_, number)| self.partitions[number].found.pop_front());
        found.map_or(MergeStep::End, |found| MergeStep::Found(found.what))
    }

    /// Takes a chunk that was read. A chunk that was not read to its end is dropped, because its newest records are
    /// missing.
    pub fn take(&mut self, chunk: Chunk<T>) {
        let partition = &mut self.partitions[chunk.partition];
        match chunk.ended {
            Ended::NotYet => {}
            Ended::TooLarge => partition.chunk = (partition.chunk / 4).max(1),
            Ended::Whole => {
                if chunk.bytes < self.chunk_bytes / 4 {
                    partition.chunk = (partition.chunk * 2).min(LARGEST_CHUNK);
                }
                partition.before = chunk.from;
                partition.found.extend(chunk.found.into_iter().rev());
                partition.reached_ms = chunk.oldest_ms.unwrap_or(partition.reached_ms);
                if partition.reached_ms < self.since_ms {
                    partition.floor = partition.before;
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
        let at_end = |partition: &Partition<T>| partition.found.is_empty() && partition.is_at_end();
        if self.partitions.iter().all(at_end) {
            return None;
        }
        Some(TopicCursor::new(self.partitions.iter().map(Partition::position).collect()))
    }
}

impl<T> Partition<T> {
    fn is_at_end(&self) -> bool {
        self.before <= self.floor
    }

    /// The offset below which all records are that were not returned yet.
    fn position(&self) -> i64 {
        match self.found.front() {
            Some(found) => found.offset + 1,
            // A partition at its end stays there, even if the next page has another range.
            None if self.is_at_end() => 0,
            None => self.before,
        }
    }

    fn next_chunk(&self, partition: usize) -> Chunk<T> {
        let from = (self.before - self.chunk).max(self.floor);
        Chunk::new(partition, (from, self.before))
    }
}

impl<T> Chunk<T> {
    pub fn new(partition: usize, (from, before): Span) -> Self {
        Self { partition, from, before, ended: Ended::NotYet, found: Vec::new(), oldest_ms: None, bytes: 0 }
    }

    /// Whether a record of this offset belongs to the chunk, and is still needed.
    pub fn wants(&self, offset: i64) -> bool {
        self.ended == Ended::NotYet && (self.from..self.before).contains(&offset)
    }

    /// Takes the next record, with its size and the value made of it.
    pub fn take(&mut self, (offset, timestamp_ms): (i64, i64), bytes: u64, what: Option<T>, chunk_bytes: u64) {
        self.bytes += bytes;
        self.oldest_ms.get_or_insert(timestamp_ms);
        self.found.extend(what.map(|what| FoundRecord { offset, timestamp_ms, what }));
        if self.bytes > chunk_bytes && self.before - self.from > 1 {
            self.ended = Ended::TooLarge;
        } else if offset + 1 >= self.before {
            self.ended = Ended::Whole;
        }
    }

    /// Ends the chunk: its last offsets hold no records, or the partition ends before them.
    pub fn end(&mut self) {
        if self.ended == Ended::NotYet {
            self.ended = Ended::Whole;
        }
    }

    /// The first record that was found in it.
    pub fn into_first(self) -> Option<T> {
        self.found.into_iter().next().map(|found| found.what)
    }
}

#[cfg(test)]
mod tests;
