//! Range of a replay: computes the offsets that people select, from the offsets that the topic holds. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::kafka::topic_reader::{PartitionExtent, Spans};

/// Start or end of a range in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeBound {
    Offset(i64),
    /// The first record with this Kafka timestamp or a later one.
    Time(Timestamp),
}

/// The selected range.
#[derive(Debug, Clone)]
pub struct Range {
    pub from: RangeBound,
    /// Exclusive. None is the current end of the topic.
    pub to: Option<RangeBound>,
    /// None selects all.
    pub partitions: Option<Vec<i32>>,
}

/// Offsets of partitions as people read and write them: `0:1044-2000,2:980-1900`. The first offset is included, the
/// second is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetRanges(pub Spans);

/// Why a range is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    #[error("the range ends at {to}, which is not after its start at {from}: use an earlier start or a later end")]
    Reversed { from: RangeBound, to: RangeBound },
    #[error("the topic has no partition {partition}: it has {count}, the first is 0")]
    NoPartition { partition: i32, count: usize },
    #[error(
        "offset {offset} is a different position in each of the topic's {count} partitions: select one with \
         --partition, or use a time"
    )]
    WhichPartition { offset: i64, count: usize },
    #[error("offset {from} of partition {partition} is not written yet: the next one is {end}")]
    BehindEnd { partition: i32, from: i64, end: i64 },
}

/// A text that is not a list of offset ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a list of offset ranges: use PARTITION:FROM-BEFORE, separated by commas, such as 0:1044-2000")]
pub struct BadOffsetRanges(String);

impl Range {
    /// Checks what can be checked without the topic.
    ///
    /// # Errors
    /// The range ends before it begins.
    pub fn check(&self) -> Result<(), BadRange> {
        let is_reversed = match (self.from, self.to) {
            (RangeBound::Offset(from), Some(RangeBound::Offset(to))) => from >= to,
            (RangeBound::Time(from), Some(RangeBound::Time(to))) => from >= to,
            _ => false,
        };
        match self.to {
            Some(to) if is_reversed => Err(BadRange::Reversed { from: self.from, to }),
            _ => Ok(()),
        }
    }

    /// The times to look up in the topic, in milliseconds since 1970.
    pub fn times(&self) -> Vec<i64> {
        let edges = [Some(self.from), self.to].into_iter().flatten();
        edges
            .filter_map(|edge| if let RangeBound::Time(at) = edge { Some(at.as_millisecond()) } else { None })
            .collect()
    }

    /// The selected offsets of each partition. `extents` are those of the topic, with [`Range::times`].
    ///
    /// # Errors
    /// A partition or an offset does not exist, or the range ends before it begins.
    pub fn spans(&self, extents: &[PartitionExtent]) -> Result<Spans, BadRange> {
        let count = extents.len();
        let all = || (0..count).filter_map(|partition| i32::try_from(partition).ok()).collect();
        let partitions: Vec<i32> = self.partitions.clone().unwrap_or_else(all);
        let mut spans = Spans::new();
        let mut reversed = None;
        for &partition in &partitions {
            let (from, before) = self.span(partition, extent(partition, extents)?, partitions.len())?;
            if let Some(to) = self.to.filter(|_| from > before) {
                reversed = Some(BadRange::Reversed { from: self.from, to });
            }
            spans.insert(partition, (from, before.max(from)));
        }
        // A time may be after an offset in one partition and before it in another.
        match reversed {
            Some(error) if spans.values().all(|(from, before)| from == before) => Err(error),
            _ => Ok(spans),
        }
    }

    fn span(&self, partition: i32, extent: &PartitionExtent, partitions: usize) -> Result<(i64, i64), BadRange> {
        let mut times = extent.time_offsets.iter().copied();
        let mut offset_of = |edge| match edge {
            // Offset 0 selects the beginning of every partition.
            RangeBound::Offset(0) => Ok(extent.start),
            RangeBound::Offset(offset) if partitions > 1 => Err(BadRange::WhichPartition { offset, count: partitions }),
            RangeBound::Offset(offset) => Ok(offset),
            RangeBound::Time(_) => Ok(times.next().unwrap_or(extent.end)),
        };
        let from = offset_of(self.from)?;
        if from > extent.end {
            return Err(BadRange::BehindEnd { partition, from, end: extent.end });
        }
        Ok((from, self.to.map_or(Ok(extent.end), &mut offset_of)?.min(extent.end)))
    }
}

/// Moves the start of each span to the start of the partition. Returns the number of offsets that retention has
/// deleted.
///
/// # Errors
/// A partition does not exist.
pub fn skip_deleted(spans: &mut Spans, extents: &[PartitionExtent]) -> Result<i64, BadRange> {
    let mut deleted = 0;
    for (partition, (from, before)) in spans.iter_mut() {
        let start = extent(*partition, extents)?.start.min(*before);
        deleted += (start - *from).max(0);
        *from = start.max(*from);
    }
    spans.retain(|_, (from, before)| from < before);
    Ok(deleted)
}

fn extent(partition: i32, extents: &[PartitionExtent]) -> Result<&PartitionExtent, BadRange> {
    let found = usize::try_from(partition).ok().and_then(|at| extents.get(at));
    found.ok_or(BadRange::NoPartition { partition, count: extents.len() })
}

impl OffsetRanges {
    /// Number of offsets.
    pub fn count(&self) -> i64 {
        self.0.values().map(|(from, before)| before - from).sum()
    }
}

impl FromStr for OffsetRanges {
    type Err = BadOffsetRanges;

    fn from_str(text: &str) -> Result<Self, BadOffsetRanges> {
        let range = |text: &str| {
            let (partition, offsets) = text.split_once(':')?;
            let (from, before) = offsets.split_once('-')?;
            // Unsigned types refuse a minus sign. The conversions refuse values that the signed types can't hold.
            let partition = i32::try_from(partition.parse::<u32>().ok()?).ok()?;
            let offset = |text: &str| i64::try_from(text.parse::<u64>().ok()?).ok();
            let (from, before) = (offset(from)?, offset(before)?);
            (from < before).then_some((partition, (from, before)))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(|part| range(part.trim())).collect();
        let count = ranges.as_ref().map_or(0, Vec::len);
        let spans: Option<Spans> = ranges.map(|ranges| ranges.into_iter().collect());
        spans.filter(|spans| spans.len() == count).map(Self).ok_or_else(|| BadOffsetRanges(text.to_owned()))
    }
}

impl fmt::Display for OffsetRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (partition, (from, before))) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{from}-{before}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RangeBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RangeBound::Offset(offset) => write!(f, "offset {offset}"),
            RangeBound::Time(at) => at.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> RangeBound {
        RangeBound::Time(text.parse().unwrap())
    }

    fn range(from: RangeBound, to: Option<RangeBound>, partitions: &[i32]) -> Range {
        let partitions = (!partitions.is_empty()).then(|| partitions.to_vec());
        Range { from, to, partitions }
    }

    fn extents() -> [PartitionExtent; 2] {
        [
            PartitionExtent { start: 10, end: 50, time_offsets: vec![20, 40] },
            PartitionExtent { start: 0, end: 7, time_offsets: vec![7, 7] },
        ]
    }

    #[test]
    fn range_is_of_times_or_of_the_offsets_of_one_partition() {
        let (morning, noon) = (at("2026-11-24T10:00:00Z"), at("2026-11-24T12:00:00Z"));
        let ranges_of = |range: Range| range.spans(&extents()).map(|spans| OffsetRanges(spans).to_string());
        let day = range(morning, Some(noon), &[]);
        assert_eq!(day.times().len(), 2);
        assert_eq!(ranges_of(day).unwrap(), "0:20-40,1:7-7");
        assert_eq!(ranges_of(range(morning, None, &[0])).unwrap(), "0:20-50");
        assert_eq!(ranges_of(range(RangeBound::Offset(0), None, &[])).unwrap(), "0:10-50,1:0-7");
        assert_eq!(ranges_of(range(RangeBound::Offset(3), Some(RangeBound::Offset(99)), &[1])).unwrap(), "1:3-7");
        let extent = [PartitionExtent { start: 10, end: 50, time_offsets: vec![40] }];
        assert_eq!(range(RangeBound::Offset(30), Some(noon), &[]).spans(&extent), Ok(Spans::from([(0, (30, 40))])));
    }

    #[test]
    fn invalid_ranges_are_rejected_with_the_reason() {
        let (morning, noon) = (at("2026-11-24T10:00:00Z"), at("2026-11-24T12:00:00Z"));
        let reversed = range(noon, Some(morning), &[]).check().unwrap_err().to_string();
        let expected = "the range ends at 2026-11-24T10:00:00Z, which is not after its start at 2026-11-24T12:00:00Z: \
             use an earlier start or a later end";
        assert_eq!(reversed, expected);
        assert!(range(RangeBound::Offset(5), Some(RangeBound::Offset(5)), &[0]).check().is_err());
        let says = |range: Range| range.spans(&extents()).unwrap_err().to_string();
        assert!(says(range(morning, None, &[2])).contains("no partition 2: it has 2"));
        assert!(says(range(RangeBound::Offset(3), None, &[])).contains("--partition"));
        assert!(says(range(RangeBound::Offset(8), None, &[1])).contains("not written yet: the next one is 7"));
        assert!(says(range(RangeBound::Offset(45), Some(morning), &[0])).contains("ends at 2026-11-24T10:00:00Z"));
    }

    #[test]
    fn offsets_deleted_by_retention_are_counted_and_skipped() {
        let mut spans = "0:4-20,1:0-7".parse::<OffsetRanges>().unwrap().0;
        assert_eq!(skip_deleted(&mut spans, &extents()), Ok(6));
        assert_eq!(OffsetRanges(spans).to_string(), "0:10-20,1:0-7");
        let mut gone = "0:4-9".parse::<OffsetRanges>().unwrap().0;
        assert_eq!((skip_deleted(&mut gone, &extents()), gone.len()), (Ok(5), 0));
        let mut missing = "5:0-1".parse::<OffsetRanges>().unwrap().0;
        assert!(skip_deleted(&mut missing, &extents()).is_err());
    }

    #[test]
    fn malformed_offset_ranges_are_rejected() {
        for bad in ["", "0", "0:1", "0:2-1", "0:1-1", "-1:0-1", "0:-1-5", "0:1-2,0:3-4", "0:1-2,", "x:0-1"] {
            assert_eq!(bad.parse::<OffsetRanges>(), Err(BadOffsetRanges(bad.to_owned())), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn written_form_round_trips(spans: std::collections::BTreeMap<u16, (u32, u16)>) {
            let spans: Spans = spans
                .into_iter()
                .map(|(partition, (from, more))| (partition.into(), (from.into(), i64::from(from) + i64::from(more) + 1)))
                .collect();
            prop_assume!(!spans.is_empty());
            let ranges = OffsetRanges(spans);
            prop_assert_eq!(ranges.to_string().parse(), Ok(ranges));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = text.parse::<OffsetRanges>();
        }
    }
}
