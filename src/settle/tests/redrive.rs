//! Redrives of dead letters with row order on librdkafka's mock cluster.

use super::*;
use crate::redelivery::{RedriveMarkers, RedriveOptions, RedrivePlan, Redriver, SkipReason};

const CALLS: i64 = 200;

/// Options of the redrives in these tests.
fn order() -> RedriveOptions {
    let (look, write) = (Duration::from_secs(30), Duration::from_secs(30));
    RedriveOptions {
        include_redriven: false,
        dry_run: false,
        definitions_offset: 0,
        requested_by: "a test".to_owned(),
        marker_scan_timeout: look,
        write_timeout: write,
    }
}

impl Bench {
    /// Makes these calls dead letters, before any later ones.
    async fn dead_letter_offsets(&self, offsets: impl Iterator<Item = i64>) {
        offsets.for_each(|offset| self.settle.finish(self.ordered(offset), exhausted()));
        self.settle.wait_until_drained().await;
    }
}

#[tokio::test]
async fn rows_go_out_in_their_order_whatever_order_they_were_dead_lettered_in() {
    let bench = Bench::new();
    // A call that finds no place is dead-lettered before the calls that wait in front of it.
    bench.dead_letter_offsets((CALLS / 2..CALLS).step_by(2)).await;
    bench.dead_letter_offsets((0..CALLS / 2).rev()).await;
    bench.dead_letter_offsets((CALLS / 2 + 1..CALLS).step_by(2)).await;

    let client = [("bootstrap.servers".to_owned(), bench.cluster.bootstrap_servers())].into();
    let (letters, filter) =
        (DeadLetterReader::new(&DeadLettersConfig::default(), &client), DeadLetterFilter::default());
    let bounds = PageLimits { max_found: 999, max_bytes: u64::MAX, max_time: Duration::from_secs(30) };
    let page = letters.page(filter.clone(), None, bounds).await.unwrap();
    let (mut turns, mut redriven) = (RedrivePlan::default(), RedriveMarkers::for_letters(&filter));
    page.found.iter().for_each(|letter| turns.add(letter));
    assert_eq!(turns.count(), CALLS as usize);
    let redrive = Redriver::new(&DeadLettersConfig::default(), &RetriesConfig::default(), &client);
    for ids in turns.batches(70, u64::MAX) {
        let found = letters.read_many(&ids, bounds.max_time).await.unwrap();
        assert_eq!(found.len(), ids.len());
        let outcomes = redrive.send(found, &letters, &mut redriven, &order()).await.unwrap();
        assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
    }

    let rows = bench.rows("outhook.retry.1s", CALLS as usize).await;
    for (row, offsets) in &rows {
        assert!(offsets.is_sorted(), "row {row}: {offsets:?}");
    }
    let mut again = RedriveMarkers::for_letters(&filter);
    let page = letters.candidates(filter, None, bounds).await.unwrap();
    let outcomes = redrive.send(page.found, &letters, &mut again, &order()).await.unwrap();
    let before = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Err(SkipReason::AlreadyRedriven(_))));
    assert_eq!(before.count(), CALLS as usize, "each is marked");
}

#[tokio::test]
async fn unacknowledged_redrive_is_not_marked_and_can_be_repeated() {
    let bench = Bench::new();
    bench.dead_letter_offsets(0..1).await;
    let client = [("bootstrap.servers".to_owned(), bench.cluster.bootstrap_servers())].into();
    let (letters, filter) =
        (DeadLetterReader::new(&DeadLettersConfig::default(), &client), DeadLetterFilter::default());
    let redrive = Redriver::new(&DeadLettersConfig::default(), &RetriesConfig::default(), &client);
    let send = async || {
        let bounds = PageLimits { max_found: 9, max_bytes: u64::MAX, max_time: Duration::from_secs(30) };
        let page = letters.candidates(filter.clone(), None, bounds).await.unwrap();
        let mut redriven = RedriveMarkers::for_letters(&filter);
        redrive.send(page.found, &letters, &mut redriven, &order()).await.unwrap().pop().unwrap().1
    };
    bench.refuse_for_size(1);
    let refused = send().await;
    assert!(matches!(refused, Err(SkipReason::NotAcknowledged(_))), "{refused:?}");
    assert!(send().await.is_ok());
    assert!(matches!(send().await, Err(SkipReason::AlreadyRedriven(_))));
}
