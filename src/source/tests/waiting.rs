//! Records that wait in lines, with an embedded broker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;

/// The lines of one member: how many records of each may move, and the records that moved, in order.
#[derive(Default)]
pub(super) struct Gates {
    places: Mutex<HashMap<Line, usize>>,
    gone: Mutex<Vec<String>>,
    reviews: AtomicBool,
    reviewed: Mutex<BTreeSet<String>>,
    pub(super) unreadable: Mutex<Vec<UnreadableRange>>,
    /// Records move this long after they were written, independent of the places of their lines, and two are read
    /// ahead.
    delay: Option<Duration>,
    /// Records written by this time move earlier; milliseconds since 1970.
    written_by_ms: AtomicI64,
}

impl Gates {
    /// Lets this number of further records of a line move.
    pub(super) fn open(&self, line: u64, places: usize) {
        *self.places.lock().unwrap().entry(Line(line)).or_default() += places;
    }

    pub(super) async fn until(&self, count: usize) -> Vec<String> {
        let all = async {
            loop {
                let gone = self.gone.lock().unwrap().clone();
                if gone.len() >= count {
                    return gone;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("the records move")
    }
}

/// A record's line is the first digit of its value.
pub(super) struct Gated(Arc<Gates>);

fn value(record: &Record<'_>) -> String {
    String::from_utf8(record.value().unwrap().to_vec()).unwrap()
}

fn line_of(value: &str) -> Line {
    Line(value[..1].parse().unwrap())
}

impl Backlog for Gated {
    fn topic_label(&self) -> &str {
        "gated"
    }

    fn is_ordered_by_due_time(&self) -> bool {
        self.0.delay.is_some()
    }

    fn max_waiting_records(&self) -> usize {
        if self.is_ordered_by_due_time() { 2 } else { usize::MAX }
    }

    fn assign_line(&mut self, record: &Record<'_>) -> Option<LineAssignment> {
        let value = value(record);
        let due_ms = self.0.delay.map_or(0, |delay| record.timestamp_ms() + delay.as_millis() as i64);
        (!value.ends_with("copy")).then(|| LineAssignment { line: line_of(&value), due_ms })
    }

    fn release_limits(&mut self, line: Line) -> ReleaseLimits {
        let places = self.0.places.lock().unwrap().get(&line).copied().unwrap_or(0);
        let places = if self.is_ordered_by_due_time() { usize::MAX } else { places };
        let written_by_ms = self.0.written_by_ms.load(Ordering::SeqCst);
        ReleaseLimits {
            max_records: places,
            only_due: self.is_ordered_by_due_time(),
            written_from_ms: 1,
            written_by_ms,
            can_wait_elsewhere: false,
        }
    }

    fn report_lines(&mut self, _: Vec<LineStats>) {}

    fn needs_review(&mut self, _: usize) -> bool {
        self.0.reviews.swap(false, Ordering::SeqCst)
    }

    async fn handle(
        &mut self,
        record: Record<'_>,
        receipt: Receipt,
        turn: RereadReason,
    ) -> Result<(), (Receipt, Line)> {
        let value = value(&record);
        let line = line_of(&value);
        if turn == RereadReason::Review {
            self.0.reviewed.lock().unwrap().insert(value);
            return Err((receipt, line));
        }
        let mut places = self.0.places.lock().unwrap();
        let Some(left) = places.get_mut(&line).filter(|left| **left > 0) else { return Err((receipt, line)) };
        *left -= 1;
        self.0.gone.lock().unwrap().push(value);
        receipt.settle();
        Ok(())
    }

    fn dead_letter_unreadable(&mut self, offsets: &UnreadableRange, receipt: Receipt) {
        self.0.unreadable.lock().unwrap().push(offsets.clone());
        receipt.settle();
    }
}

pub(super) struct Gateways(Arc<Gates>);

impl HandlerFactory for Gateways {
    type Handler = Recorder;
    type Backlog = Gated;

    fn for_partition(&self, _: &str, _: i32) -> Option<ReadMode<Recorder, Gated>> {
        Some(ReadMode::ByLine(Gated(self.0.clone())))
    }
}

pub(super) fn start(broker: &Broker, gates: &Arc<Gates>) -> Source<Gateways> {
    Source::start(&config(broker), Gateways(gates.clone()), Budget::new(1 << 20)).unwrap()
}

pub(super) async fn stop(source: Source<Gateways>) -> usize {
    let drained = source.drain().await;
    source.leave(drained).await.unsettled
}

/// Records of one partition, which alternate between this number of lines.
fn in_turn(lines: u64, range: std::ops::Range<u64>) -> Vec<(i32, String)> {
    range.map(|n| (0, format!("{}-{n}", n % lines))).collect()
}

fn of_line(records: &[(i32, String)], line: u64) -> Vec<String> {
    let own = records.iter().filter(|(_, value)| line_of(value) == Line(line));
    own.map(|(_, value)| value.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_lines_move_independently_and_in_order() {
    let (broker, gates) = (broker(), Arc::<Gates>::default());
    let records = in_turn(3, 0..300);
    produce(&broker, records.clone()).await;
    gates.open(1, 100);
    let source = start(&broker, &gates);
    assert_eq!(gates.until(100).await, of_line(&records, 1));
    gates.open(2, 30);
    assert_eq!(gates.until(130).await[100..], of_line(&records, 2)[..30]);
    gates.open(0, 100);
    gates.open(2, 70);
    let all: BTreeSet<_> = gates.until(300).await.into_iter().collect();
    assert_eq!(all.len(), 300, "each moved once");
    assert_eq!(stop(source).await, 0);
    assert_eq!(committed(&broker).await[0], Some(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_records_do_not_delay_a_stop_and_only_they_are_read_again() {
    let (broker, first) = (broker(), Arc::<Gates>::default());
    let records = in_turn(2, 0..100);
    produce(&broker, records.clone()).await;
    first.open(1, 50);
    let source = start(&broker, &first);
    first.until(50).await;
    assert_eq!(stop(source).await, 0, "waiting records do not count as unsettled");
    assert_eq!(committed(&broker).await[0], Some(0));

    let second = Arc::<Gates>::default();
    second.open(0, 50);
    second.open(1, 50);
    let source = start(&broker, &second);
    assert_eq!(second.until(50).await, of_line(&records, 0));
    assert_eq!(stop(source).await, 0);
    assert_eq!(second.gone.lock().unwrap().len(), 50);
    assert_eq!(committed(&broker).await[0], Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_records_queue_behind_waiting_ones_and_duplicates_end() {
    let (broker, gates) = (broker(), Arc::<Gates>::default());
    produce(&broker, in_turn(1, 0..10)).await;
    let source = start(&broker, &gates);
    produce(&broker, [(0, "0-copy".to_owned())]).await;
    produce(&broker, in_turn(1, 10..20)).await;
    gates.open(0, 99);
    assert_eq!(gates.until(20).await, of_line(&in_turn(1, 0..20), 0));
    assert_eq!(stop(source).await, 0);
    assert_eq!(committed(&broker).await[0], Some(21));
}

#[tokio::test(flavor = "multi_thread")]
async fn review_shows_all_waiting_records_and_moves_none() {
    let (broker, gates) = (broker(), Arc::<Gates>::default());
    let records = in_turn(2, 0..50);
    produce(&broker, records.clone()).await;
    let source = start(&broker, &gates);
    let reviewed = async {
        while gates.reviewed.lock().unwrap().len() < 50 {
            gates.reviews.store(true, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reviewed).await.expect("all are reviewed");
    assert!(gates.gone.lock().unwrap().is_empty());
    gates.open(0, 25);
    assert_eq!(gates.until(25).await, of_line(&records, 0));
    stop(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timed_records_move_when_they_are_due() {
    let delay = Duration::from_millis(600);
    let (broker, gates) = (broker(), Arc::new(Gates { delay: Some(delay), ..Gates::default() }));
    let records = in_turn(2, 0..20);
    gates.open(0, 10);
    gates.open(1, 10);
    let source = start(&broker, &gates);
    let written = std::time::Instant::now();
    produce(&broker, records.clone()).await;
    let all: Vec<_> = records.into_iter().map(|(_, value)| value).collect();
    assert_eq!(gates.until(20).await, all);
    // A timestamp has whole milliseconds.
    assert!(written.elapsed() + Duration::from_millis(1) >= delay, "after {:?}", written.elapsed());
    assert_eq!(stop(source).await, 0);
    assert_eq!(committed(&broker).await[0], Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn timed_records_that_are_released_early_move_in_order() {
    let delay = Some(Duration::from_secs(3600));
    let (broker, gates) = (broker(), Arc::new(Gates { delay, ..Gates::default() }));
    let records = in_turn(1, 0..20);
    gates.open(0, 20);
    produce(&broker, records.clone()).await;
    let source = start(&broker, &gates);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(gates.gone.lock().unwrap().is_empty());
    gates.written_by_ms.store(i64::MAX, Ordering::SeqCst);
    assert_eq!(gates.until(20).await, of_line(&records, 0));
    assert_eq!(stop(source).await, 0);
    assert_eq!(committed(&broker).await[0], Some(20));
}
