//! Topic reads on librdkafka's own mock cluster.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::*;

const TOPIC: &str = "letters";
const BOUNDS: PageLimits = PageLimits { max_found: 1_000, max_bytes: u64::MAX, max_time: Duration::from_secs(30) };

struct Bench {
    producer: FutureProducer,
    journal: TopicReader,
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Bench {
    fn new(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        let client = client(&cluster.bootstrap_servers());
        let producer = client.create().unwrap();
        Self { producer, journal: TopicReader::new(TOPIC, client), cluster }
    }

    /// Writes a record; its value is its timestamp.
    async fn write(&self, partition: i32, at: i64) {
        let value = at.to_string();
        let record = FutureRecord::<(), _>::to(TOPIC).partition(partition).timestamp(at).payload(&value);
        self.producer.send(record, Timeout::Never).await.unwrap();
    }

    async fn page(&self, from: Option<TopicCursor>, range: Range, found: usize) -> Page<i64> {
        self.journal.page(from, range, PageLimits { max_found: found, ..BOUNDS }, value).await.unwrap()
    }
}

fn client(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("log_level", "0");
    client
}

fn value(record: &Record<'_>) -> Option<i64> {
    let value = std::str::from_utf8(record.value?).ok()?.parse().ok()?;
    assert_eq!(record.timestamp_ms, value);
    Some(value)
}

#[tokio::test]
async fn pages_go_back_through_all_partitions_without_newer_records() {
    let bench = Bench::new(3);
    assert_eq!(bench.page(None, Range::default(), 5).await.next_cursor, None, "an empty topic");
    for (partition, at) in [(0, 1), (0, 4), (0, 7), (1, 2), (1, 5), (1, 8)] {
        bench.write(partition, at).await;
    }
    let first = bench.page(None, Range::default(), 4).await;
    assert_eq!((first.found, first.scanned), (vec![8, 7, 5, 4], 6));
    bench.write(2, 9).await;
    bench.write(0, 10).await;
    let cursor = first.next_cursor.unwrap().to_string().parse().unwrap();
    let second = bench.page(Some(cursor), Range::default(), 4).await;
    assert_eq!((second.found, second.next_cursor), (vec![2, 1], None));
    assert_eq!(bench.page(None, Range::default(), 2).await.found, [10, 9]);
}

#[tokio::test]
async fn page_with_a_tiny_byte_limit_still_advances() {
    let bench = Bench::new(2);
    // A timestamp of 0 would be replaced by the current time.
    for at in 1..=200 {
        bench.write((at % 2) as i32, at).await;
    }
    let bounds = PageLimits { max_bytes: 1, ..BOUNDS };
    let odd = |record: &Record<'_>| value(record).filter(|at| at % 2 == 1);
    let (mut found, mut pages, mut next) = (Vec::new(), 0, None);
    loop {
        let page = bench.journal.page(next, Range::default(), bounds, odd).await.unwrap();
        found.extend(page.found);
        pages += 1;
        next = page.next_cursor;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found, (1..=200).rev().filter(|at| at % 2 == 1).collect::<Vec<_>>());
    assert!(pages > 1, "{pages}");
}

#[tokio::test]
async fn record_is_read_by_partition_and_offset() {
    let bench = Bench::new(2);
    bench.write(1, 3).await;
    bench.write(1, 4).await;
    for (place, expected) in
        [((1, 0), Some(3)), ((1, 1), Some(4)), ((1, 2), None), ((0, 0), None), ((7, 0), None), ((-1, 0), None)]
    {
        assert_eq!(bench.journal.read_at(place, BOUNDS.max_time, value).await.unwrap(), expected, "{place:?}");
    }
}

#[tokio::test]
async fn page_read_ends_at_records_older_than_the_range() {
    let bench = Bench::new(1);
    for minute in 1..100 {
        bench.write(0, minute * 60_000).await;
    }
    let range = Range { since_ms: Some(95 * 60_000), ..Range::default() };
    let page = bench.page(None, range, 1_000).await;
    assert!(page.next_cursor.is_none() && page.scanned <= 64, "{page:?}");
    assert_eq!(page.found[..5], [99, 98, 97, 96, 95].map(|minute| minute * 60_000));
}

/// Reads forward, until `most` records were seen.
async fn forward(bench: &Bench, spans: Spans, most: usize) -> (Vec<(i32, i64)>, Spans) {
    let look = move |seen: &mut Vec<_>, record: &Record<'_>| {
        seen.push((record.partition, record.offset));
        if seen.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    bench.journal.forward(spans, BOUNDS.max_time, Vec::new(), look).await.unwrap()
}

#[tokio::test]
async fn spans_are_read_forwards_and_the_unread_rest_is_returned() {
    let bench = Bench::new(3);
    for at in 1..=20 {
        bench.write((at % 2) as i32, at).await;
    }
    let extents = bench.journal.extents(Vec::new(), BOUNDS.max_time).await.unwrap();
    assert_eq!(extents.iter().map(|extent| (extent.start, extent.end)).collect::<Vec<_>>(), [(0, 10), (0, 10), (0, 0)]);

    let spans = Spans::from([(0, (2, 8)), (1, (9, 10)), (2, (0, 0))]);
    let (mut seen, left) = forward(&bench, spans.clone(), usize::MAX).await;
    seen.sort_unstable();
    assert_eq!(seen, [(0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (1, 9)]);
    assert!(left.is_empty(), "{left:?}");

    let (mut all, mut left) = (Vec::new(), spans);
    while !left.is_empty() {
        let (seen, then) = forward(&bench, left, 3).await;
        assert!(seen.len() <= 3, "{seen:?}");
        all.extend(seen);
        left = then;
    }
    all.sort_unstable();
    assert_eq!(all, seen, "in pieces the same, each once");
}

#[tokio::test]
async fn read_ends_at_offsets_that_are_not_written_yet() {
    let bench = Bench::new(1);
    bench.write(0, 1).await;
    assert_eq!(forward(&bench, Spans::from([(0, (0, 99))]), 9).await, (vec![(0, 0)], Spans::new()));
}

#[tokio::test]
async fn range_with_a_key_reads_only_its_partition() {
    let bench = Bench::new(3);
    for at in 1..=9 {
        bench.write((at % 3) as i32, at).await;
    }
    let range = Range { key: Some(7), ..Range::default() };
    let first = bench.page(None, range, 2).await;
    assert_eq!((first.found, first.scanned), (vec![7, 4], 3));
    let second = bench.page(first.next_cursor, range, 2).await;
    assert_eq!((second.found, second.next_cursor), (vec![1], None));
}

#[tokio::test]
async fn errors_say_what_is_wrong() {
    let bench = Bench::new(1);
    let from = Some(TopicCursor::new(vec![1, 2]));
    let foreign = bench.journal.page(from, Range::default(), BOUNDS, value).await.unwrap_err();
    assert!(foreign.to_string().contains("not the cursor of an earlier page"), "{foreign}");

    let missing = TopicReader::new("missing", client(&bench.cluster.bootstrap_servers()));
    let missing = missing.page(None, Range::default(), BOUNDS, value).await.unwrap_err();
    assert!(missing.to_string().contains("there is no topic missing"), "{missing}");

    let max_time = Duration::from_millis(300);
    let nobody = TopicReader::new(TOPIC, client("127.0.0.1:9"));
    let nobody = nobody.page(None, Range::default(), PageLimits { max_time, ..BOUNDS }, value).await.unwrap_err();
    assert!(nobody.to_string().contains("127.0.0.1:9"), "{nobody}");

    let places: Vec<_> = (0..MAX_CONCURRENT_READS).map(|_| bench.journal.acquire_permit().unwrap()).collect();
    let busy = bench.journal.read_at((0, 0), BOUNDS.max_time, value).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    drop(places);
    assert_eq!(bench.journal.read_at((0, 0), BOUNDS.max_time, value).await.unwrap(), None);
}
