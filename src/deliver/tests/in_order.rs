//! Calls in row order: a row has one call at a time, a failed call is retried first, and what happens to the others.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::{Call, Config, FailureCause, Outcome};
use super::calls::{CountingBook, Heard, call, config, most_in_a_second, target};
use super::receiver::{Receiver, Reply};
use crate::definition::MessageOrder;
use crate::rules::{EventState, Target};

/// A webhook in row order, in this version.
fn ordered(url: &str, version: u32) -> Arc<Target> {
    let target = Arc::into_inner(target(url)).unwrap();
    Arc::new(Target { version, order: MessageOrder::RowKey, ..target })
}

/// The call with number n. Its row is the last digit.
fn row_order_call(target: &Arc<Target>, n: u32, book: &Arc<CountingBook>) -> Call {
    Call { row_key: format!("{}", n % 10).parse().ok(), ..call(target, n, book) }
}

impl Heard {
    async fn offer_in_order(&self, target: &Arc<Target>, numbers: impl IntoIterator<Item = u32>) {
        for n in numbers {
            self.lanes.send(row_order_call(target, n, &self.book)).await;
        }
    }

    async fn dead_lettered(&mut self) -> (i64, FailureCause) {
        let end = self.end().await;
        match end.outcome {
            Some(Outcome::Exhausted { cause }) => (end.n, cause),
            other => panic!("{}: {other:?}", end.n),
        }
    }
}

impl Receiver {
    /// The numbers of the next calls.
    async fn numbers(&mut self, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            let body = self.heard().await.body;
            numbers.push(std::str::from_utf8(&body[5..body.len() - 1]).unwrap().parse().unwrap());
        }
        numbers
    }
}

#[tokio::test]
async fn failed_head_is_retried_first_while_other_rows_continue() {
    let mut receiver = Receiver::start(|n| Reply::Status(if n == 0 { 500 } else { 200 })).await;
    let retry = vec![Duration::from_secs(1); 3];
    let mut heard = Heard::new(Config { retry, concurrency: 4, ..config() });
    let target = ordered(&receiver.url("/"), 1);
    heard.offer_in_order(&target, [10]).await;
    assert_eq!(receiver.numbers(1).await, [10]);
    heard.offer_in_order(&target, [20, 30, 11, 21]).await;
    let came = receiver.numbers(5).await;
    assert_eq!(came, [11, 21, 10, 20, 30]);
    for _ in 0..5 {
        heard.delivered().await;
    }
    assert_eq!((heard.book.settled(), heard.lanes.in_flight()), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_arrive_in_order_despite_failures() {
    const CALLS: u32 = 600;
    let mut receiver = Receiver::start(|n| Reply::Status(if n % 3 == 2 { 500 } else { 200 })).await;
    let retry = vec![Duration::from_millis(5); 40];
    let mut heard = Heard::new(Config { retry, queue_calls: 40, breaker_failures: 1, ..config() });
    let target = ordered(&receiver.url("/"), 1);
    let (lanes, book) = (heard.lanes.clone(), heard.book.clone());
    let sending = tokio::spawn(async move {
        for n in 0..CALLS {
            // Keeps the lane from filling up: calls that find no room at a failing endpoint would be dead-lettered.
            // The tests below cover that.
            while lanes.in_flight() >= 40 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            lanes.send(row_order_call(&target, n, &book)).await;
        }
    });
    let mut last = [None; 10];
    let mut first_arrivals = 0;
    while first_arrivals < CALLS {
        let n = receiver.numbers(1).await[0];
        let last = &mut last[n as usize % 10];
        assert!(last.is_none_or(|last| last == n || last + 10 == n), "{n} after {last:?}");
        first_arrivals += u32::from(*last != Some(n));
        *last = Some(n);
    }
    sending.await.unwrap();
    for _ in 0..CALLS {
        heard.delivered().await;
    }
}

#[tokio::test]
async fn head_that_fails_too_long_is_dead_lettered_and_its_row_continues() {
    let mut receiver = Receiver::start(|n| Reply::Status(if n < 3 { 503 } else { 200 })).await;
    let patience = Duration::from_millis(300);
    // Without row order such a wait would be spent in a retry topic.
    let retry = vec![Duration::from_secs(120); 9];
    let mut heard = Heard::new(Config { retry, order_patience: patience, ..config() });
    let target = ordered(&receiver.url("/"), 1);
    let started = Instant::now();
    heard.offer_in_order(&target, [10, 20, 30]).await;
    let (n, cause) = heard.dead_lettered().await;
    assert!(started.elapsed() >= patience && started.elapsed() < patience * 10, "{:?}", started.elapsed());
    assert_eq!((n, cause.class, cause.status), (10, "status_5xx", Some(503)));
    let story = "answered 503 Service Unavailable; dead-lettered after 2 attempts: its row has failed for ";
    assert!(cause.text.contains(story), "{}", cause.text);
    assert!(cause.text.ends_with("and 2 calls of the row wait behind it"), "{}", cause.text);
    // The row still fails with the next call, which gets no further patience.
    let (n, cause) = heard.dead_lettered().await;
    assert!(
        n == 20 && cause.text.contains("dead-lettered after 1 attempts: its row has failed for "),
        "{n}: {}",
        cause.text
    );
    heard.delivered().await;
    assert_eq!(receiver.numbers(4).await, [10, 10, 20, 30]);
}

#[tokio::test]
async fn calls_of_a_new_webhook_version_do_not_overtake_older_ones() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(config());
    let [old, new] = [1, 2].map(|version| ordered(&receiver.url("/"), version));
    heard.offer_in_order(&old, [10, 20]).await;
    heard.offer_in_order(&new, [30]).await;
    assert_eq!(receiver.numbers(1).await, [10]);
    assert_eq!(heard.lanes.lane_map.lane_count(), 1);
    receiver.release(3);
    assert_eq!(receiver.numbers(2).await, [20, 30]);
    for _ in 0..3 {
        heard.delivered().await;
    }
}

#[tokio::test]
async fn sender_waits_for_a_full_lane_of_a_slow_but_working_endpoint() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let wait = Duration::from_millis(20);
    let mut heard = Heard::new(Config { concurrency: 1, queue_calls: 3, queue_wait: wait, ..config() });
    let target = ordered(&receiver.url("/"), 1);
    heard.offer_in_order(&target, [10, 20, 11]).await;
    receiver.heard().await;
    let lanes = heard.lanes.clone();
    let mut send = pin!(lanes.send(row_order_call(&target, 12, &heard.book)));
    tokio::select! {
        () = &mut send => panic!("it did not wait"),
        () = tokio::time::sleep(Duration::from_millis(600)) => receiver.release(4),
    }
    send.await;
    for _ in 0..4 {
        heard.delivered().await;
    }
}

#[tokio::test]
async fn a_call_that_finds_no_place_behind_others_of_a_failing_endpoint_is_dead_lettered_with_the_reason() {
    // A refusal of the endpoint keeps other calls waiting like a failure does.
    let receiver = Receiver::start(|_| Reply::Status(422)).await;
    let (retry, order_patience) = (vec![Duration::from_secs(30)], Duration::from_secs(10));
    let few = Config { concurrency: 1, queue_calls: 3, order_parked: 1, ..config() };
    let mut heard = Heard::new(Config { retry, order_patience, ..few });
    let target = ordered(&receiver.url("/"), 1);
    let started = Instant::now();
    heard.offer_in_order(&target, [10, 20, 30]).await;
    let (n, cause) = heard.dead_lettered().await;
    assert!(started.elapsed() >= order_patience / 20, "the lane waits for a failure that may be over soon");
    assert_eq!((n, cause.class, cause.status), (30, "row_order", Some(422)));
    let story = "not attempted: 2 calls wait before it in row order, there is no room for more, and the endpoint \
                 fails: http://";
    assert!(cause.text.starts_with(story) && cause.text.ends_with("422 Unprocessable Entity"), "{}", cause.text);
    // A call of another row finds a place. Then the whole lane is full.
    heard.offer_in_order(&target, [11, 12]).await;
    let (n, cause) = heard.dead_lettered().await;
    assert!(n == 12 && cause.text.contains("not attempted: 3 calls wait before it"), "{n} {}", cause.text);
    assert_eq!(heard.lanes.in_flight(), 3);
}

#[tokio::test]
async fn ended_event_cancels_its_calls_and_the_row_continues() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(config());
    let target = ordered(&receiver.url("/"), 1);
    let ending = row_order_call(&target, 20, &heard.book);
    let event = ending.message.event_state.clone();
    heard.offer_in_order(&target, [10]).await;
    heard.lanes.send(ending).await;
    heard.offer_in_order(&target, [30]).await;
    receiver.heard().await;
    EventState::mark_ended(&event);
    receiver.release(2);
    assert_eq!(heard.delivered().await, 1);
    let end = heard.end().await;
    assert_eq!((end.n, end.outcome), (20, Some(Outcome::Cancelled)));
    assert_eq!(heard.end().await.n, 30);
}

#[tokio::test]
async fn retry_after_pauses_only_its_row_and_410_ends_all_calls() {
    let mut receiver = Receiver::start(|n| match n {
        0 => Reply::RetryAfter(429, "1"),
        1 | 2 => Reply::Status(200),
        _ => Reply::Status(410),
    })
    .await;
    let mut heard = Heard::new(Config { concurrency: 1, ..config() });
    let target = ordered(&receiver.url("/"), 1);
    heard.offer_in_order(&target, [10]).await;
    let first = receiver.heard().await.at;
    heard.offer_in_order(&target, [11, 20, 30]).await;
    assert_eq!(receiver.numbers(1).await, [11]);
    let second = receiver.heard().await.at;
    assert!(second - first >= Duration::from_secs(1), "{:?}", second - first);
    heard.delivered().await;
    assert_eq!(heard.delivered().await, 2);
    assert_eq!(receiver.numbers(1).await, [20]);
    for n in [20, 30] {
        let (dead_lettered, cause) = heard.dead_lettered().await;
        assert_eq!((dead_lettered, cause.class), (n, "gone"));
    }
    assert!(receiver.not_heard());
}

#[tokio::test]
async fn no_call_overtakes_a_failed_head_during_a_stop() {
    let mut receiver = Receiver::start(|_| Reply::Held(500)).await;
    let heard = Heard::new(config());
    let target = ordered(&receiver.url("/"), 1);
    heard.offer_in_order(&target, [10, 20, 30]).await;
    receiver.heard().await;
    let lanes = heard.lanes.clone();
    let mut stop = pin!(lanes.stop());
    tokio::select! {
        biased;
        () = &mut stop => panic!("it did not wait for the attempt under way"),
        () = ready(()) => {}
    }
    receiver.release(3);
    stop.await;
    assert!(receiver.not_heard());
    assert_eq!((heard.book.settled(), heard.book.abandoned()), (0, 3));
    heard.offer_in_order(&target, [40]).await;
    assert_eq!(heard.book.abandoned(), 4);
}

#[tokio::test]
async fn row_order_throttling_uses_the_slots_of_the_row_order_topic() {
    const CALLS: u32 = 20;
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { queue_wait: Duration::from_millis(20), ..config() });
    let throttled = Arc::into_inner(ordered(&receiver.url("/"), 1)).unwrap();
    let throttled = Arc::new(Target { call_throttling: Some(10), ..throttled });
    let shares = [0, 1, 2, 3].map(|partition| heard.lanes.lease_row_order_slots(partition));
    heard.offer_in_order(&throttled, 0..CALLS).await;
    let mut arrived = Vec::new();
    for _ in 0..CALLS {
        heard.delivered().await;
        arrived.push(receiver.heard().await);
    }
    let most = most_in_a_second(&arrived);
    assert!(most <= 10, "{most} in a second");
    // An instance without slots has nothing to send either: other instances read its partitions.
    drop(shares);
    heard.offer_in_order(&throttled, CALLS..CALLS + 3).await;
    while heard.book.abandoned() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(heard.lanes.in_flight(), 0);
}

#[tokio::test]
async fn calls_of_a_lost_partition_are_dropped_unsettled() {
    let mut receiver = Receiver::start(|n| Reply::Held([200, 500][n])).await;
    let mut heard = Heard::new(config());
    let target = ordered(&receiver.url("/"), 1);
    heard.offer_in_order(&target, [10, 20]).await;
    assert_eq!(receiver.numbers(1).await, [10]);
    receiver.release(1);
    assert_eq!(heard.delivered().await, 1);
    assert_eq!(receiver.numbers(1).await, [20]);
    heard.offer_in_order(&target, [30]).await;
    heard.book.revoked.store(true, Ordering::SeqCst);
    receiver.release(1);
    while heard.book.abandoned() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((heard.book.settled(), heard.lanes.in_flight()), (1, 0));
    assert!(receiver.not_heard());
}

#[tokio::test]
async fn waiting_head_is_dropped_on_partition_loss_or_cancelled_with_its_event() {
    let mut receiver = Receiver::start(|_| Reply::Status(500)).await;
    let mut heard = Heard::new(Config { retry: vec![Duration::from_secs(120)], ..config() });
    let target = ordered(&receiver.url("/"), 1);
    let ending = row_order_call(&target, 11, &heard.book);
    let event = ending.message.event_state.clone();
    heard.lanes.send(ending).await;
    heard.offer_in_order(&target, [12, 22]).await;
    receiver.heard().await;
    receiver.heard().await;
    EventState::mark_ended(&event);
    let end = heard.end().await;
    assert_eq!((end.n, end.outcome), (11, Some(Outcome::Cancelled)));
    heard.book.revoked.store(true, Ordering::SeqCst);
    while heard.lanes.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A cancelled call is settled by its sink, which does not do so here.
    assert_eq!((heard.book.settled(), heard.book.abandoned()), (0, 3));
}

#[tokio::test]
async fn failures_long_before_a_lane_was_full_dead_letter_nothing() {
    let mut receiver = Receiver::start(|n| if n == 0 { Reply::Status(422) } else { Reply::Held(200) }).await;
    let order_patience = Duration::from_millis(400);
    let few = Config { concurrency: 1, queue_calls: 3, retry: vec![Duration::from_secs(5)], ..config() };
    let mut heard = Heard::new(Config { order_patience, ..few });
    let target = ordered(&receiver.url("/"), 1);
    heard.offer_in_order(&target, [1]).await;
    assert_eq!(receiver.numbers(1).await, [1]);
    // By then the endpoint has failed for longer than a full lane waits.
    tokio::time::sleep(order_patience / 4).await;
    heard.offer_in_order(&target, [2, 3]).await;
    receiver.heard().await;
    let lanes = heard.lanes.clone();
    let mut send = pin!(lanes.send(row_order_call(&target, 4, &heard.book)));
    tokio::select! {
        () = &mut send => panic!("it did not wait"),
        () = tokio::time::sleep(Duration::from_millis(200)) => receiver.release(9),
    }
    send.await;
    for _ in 0..4 {
        heard.delivered().await;
    }
}

#[tokio::test]
async fn failing_row_order_endpoints_leave_room_for_others() {
    let dead = Receiver::start(|_| Reply::Silence).await;
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    // Of 40 calls in memory, 20 may be in row order.
    let mut heard = Heard::new(Config { max_calls: 40, min_concurrency: 1, ..config() });
    let failing = ordered(&dead.url("/"), 1);
    let lanes = heard.lanes.clone();
    let book = heard.book.clone();
    let filling = tokio::spawn(async move {
        for n in 0..60 {
            lanes.send(row_order_call(&failing, n, &book)).await;
        }
    });
    while heard.lanes.in_flight() < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(heard.lanes.in_flight(), 20);
    heard.offer(&target(&receiver.url("/")), 70).await;
    heard.offer_in_order(&ordered(&receiver.url("/"), 1), [71]).await;
    for _ in 0..2 {
        heard.delivered().await;
        receiver.heard().await;
    }
    filling.abort();
}
