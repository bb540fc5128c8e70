//! Pages of generated partitions, compared with a plain sort.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A record: its timestamp, its bytes, and whether a page finds it.
type Made = (i64, u64, bool);

/// A returned record: its time, partition and offset.
type Given = (i64, usize, i64);

/// Reads a page as the reader does, from partitions in memory.
fn page(
    partitions: &[Vec<Made>],
    from: Option<TopicCursor>,
    chunk_bytes: u64,
    count: usize,
) -> (Vec<Given>, Option<TopicCursor>) {
    let ends = || partitions.iter().map(|records| records.len() as i64);
    let before = from.map_or_else(|| ends().collect(), |cursor| cursor.positions(partitions.len()).unwrap());
    let spans: Vec<Span> = before.into_iter().map(|before| (0, before)).collect();
    let mut merge = PartitionMerge::new(&spans, None, chunk_bytes);
    let mut given = Vec::new();
    while given.len() < count {
        match merge.next() {
            MergeStep::Found(found) => given.push(found),
            MergeStep::Read(chunks) => {
                chunks.into_iter().for_each(|chunk| merge.add_chunk(filled(chunk, partitions, chunk_bytes)))
            }
            MergeStep::End => break,
        }
    }
    (given, merge.cursor())
}

fn filled(mut chunk: Chunk<Given>, partitions: &[Vec<Made>], chunk_bytes: u64) -> Chunk<Given> {
    let number = chunk.partition;
    for (offset, &(at, bytes, wanted)) in (0..).zip(&partitions[number]) {
        if chunk.needs(offset) {
            chunk.add_record((offset, at), bytes, wanted.then_some((at, number, offset)), chunk_bytes);
        }
    }
    chunk.finish();
    chunk
}

fn all_pages(partitions: &[Vec<Made>], chunk_bytes: u64, count: usize) -> Vec<Given> {
    let (mut given, mut next) = page(partitions, None, chunk_bytes, count);
    while let Some(cursor) = next {
        let (more, then) = page(partitions, Some(cursor), chunk_bytes, count);
        given.extend(more);
        next = then;
    }
    given
}

fn wanted(partitions: &[Vec<Made>]) -> Vec<Given> {
    let of_one = |(number, records): (usize, &Vec<Made>)| {
        let numbered = (0..).zip(records.clone()).filter(|(_, (.., wanted))| *wanted);
        numbered.map(|(offset, (at, ..))| (at, number, offset)).collect::<Vec<_>>()
    };
    partitions.iter().enumerate().flat_map(of_one).collect()
}

fn partitions() -> impl Strategy<Value = Vec<Vec<Made>>> {
    let record = (0..1_000_i64, 0..2_000_u64, prop::bool::weighted(0.2));
    vec(vec(record, 0..300), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_hold_each_record_once_newest_first(mut made in partitions(), limit in 1..40_usize, room in 1..9_000_u64) {
        made.iter_mut().for_each(|records| records.sort_by_key(|(at, ..)| *at));
        let given = all_pages(&made, room, limit);
        prop_assert!(given.windows(2).all(|pair| pair[0].0 >= pair[1].0), "{:?}", given);
        let mut expected = wanted(&made);
        expected.sort_unstable();
        let mut found = given;
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    /// Clocks differ, so a partition's timestamps may also decrease. No record may be lost because of that.
    #[test]
    fn no_timestamp_order_loses_or_repeats_a_record(made in partitions(), limit in 1..40_usize, room in 1..9_000_u64) {
        let mut found = all_pages(&made, room, limit);
        let mut expected = wanted(&made);
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn partition_read_ends_at_records_older_than_the_range() {
    let mut merge = PartitionMerge::<Given>::new(&[(0, 10_000)], Some(9_950), u64::MAX);
    let mut chunks = 0;
    while let MergeStep::Read(read) = merge.next() {
        for mut chunk in read {
            (chunk.from..chunk.end).for_each(|at| chunk.add_record((at, at), 1, None, u64::MAX));
            merge.add_chunk(chunk);
            chunks += 1;
        }
    }
    assert_eq!((chunks, merge.cursor()), (1, None), "the first chunk begins with a record that is older");
}

#[test]
fn incomplete_chunk_is_ignored_and_read_again() {
    let mut merge = PartitionMerge::new(&[(0, 100), (0, 100)], None, u64::MAX);
    let MergeStep::Read(mut chunks) = merge.next() else { panic!("nothing was read yet") };
    assert_eq!(chunks.iter().map(|chunk| (chunk.from, chunk.end)).collect::<Vec<_>>(), [(36, 100); 2]);
    let (mut broken, mut whole) = (chunks.remove(0), chunks.remove(0));
    broken.add_record((36, 1), 1, Some("lost?"), u64::MAX);
    whole.add_record((98, 5), 1, Some("found"), u64::MAX);
    whole.finish();
    merge.add_chunk(broken);
    merge.add_chunk(whole);
    assert!(matches!(merge.next(), MergeStep::Read(chunks) if chunks.len() == 1 && chunks[0].partition == 0));
    assert_eq!(merge.cursor(), Some(TopicCursor::new(vec![100, 99])));
}

#[test]
fn chunk_size_adapts_to_the_record_size() {
    let mut merge = PartitionMerge::<()>::new(&[(0, 1_000)], None, 100);
    let mut sizes = Vec::new();
    for bytes in [60, 60, 60, 60, 1, 1] {
        let MergeStep::Read(mut chunks) = merge.next() else { panic!("there is more") };
        let mut chunk = chunks.remove(0);
        sizes.push(chunk.end - chunk.from);
        for offset in chunk.from..chunk.end {
            if chunk.needs(offset) {
                chunk.add_record((offset, 0), bytes, None, 100);
            }
        }
        merge.add_chunk(chunk);
    }
    assert_eq!(sizes, [64, 16, 4, 1, 1, 2]);
}
