//! Lanes: limits, connections, independence, start and end.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::super::lane::NextAction;
use super::super::{Call, Config, FailureCause, Outcome};
use super::calls::{CountingBook, Heard, call, config, most_in_a_second, target};
use super::receiver::{Receiver, Reply};
use crate::deliver::failure_summary::FailureSummary;
use crate::deliver::lane::worker::Worker;
use crate::deliver::overflow_reason::OverflowReason;
use crate::receipt::{Budget, Receipt};
use crate::rules::Target;

#[tokio::test]
async fn connection_is_reused_for_later_calls() {
    let receiver = Receiver::start(|n| Reply::Body(200, n)).await;
    let mut heard = Heard::new(config());
    let target = target(&receiver.url("/"));
    for n in 0..20 {
        heard.offer(&target, n).await;
        heard.delivered().await;
    }
    assert!(receiver.connections() <= 2, "{} connections", receiver.connections());
}

#[tokio::test]
async fn concurrent_calls_are_limited() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config { concurrency: 3, ..config() });
    let target = target(&receiver.url("/"));
    heard.offer_all(&target, 0..9).await;
    for _ in 0..3 {
        receiver.heard().await;
    }
    receiver.release(9);
    for _ in 0..9 {
        heard.delivered().await;
    }
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn connections_over_all_lanes_are_limited_except_one_per_lane() {
    let mut slow = Receiver::start(|_| Reply::Held(200)).await;
    let quick = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { max_connections: Some(2), ..config() });
    heard.offer_all(&target(&slow.url("/")), 0..9).await;
    for _ in 0..2 {
        slow.heard().await;
    }
    heard.offer_all(&target(&quick.url("/")), 9..12).await;
    for _ in 0..3 {
        heard.delivered().await;
    }
    assert_eq!((slow.connections(), quick.connections()), (2, 1));
    slow.release(9);
    for _ in 0..9 {
        heard.delivered().await;
    }
    assert_eq!(slow.connections(), 2);
}

#[tokio::test]
async fn large_bodies_for_hanging_endpoints_leave_memory_for_others() {
    const BODY: usize = 100_000;
    let (budget, book) = (Budget::new(1 << 20), Arc::<CountingBook>::default());
    let large = |target: &Arc<Target>, n: u32| {
        let mut call = call(target, n, &book);
        let record = Receipt::open(book.clone(), n.into(), budget.clone());
        call.receipt = record.share(BODY);
        record.settle();
        call.message.body = vec![b'x'; BODY].into();
        call
    };
    let hanging = Receiver::start(|_| Reply::Silence).await;
    let mut heard = Heard::new(config());
    // Each is the first call of a separate lane.
    for n in 0..30 {
        heard.lanes.send(large(&target(&hanging.url(&format!("/{n}"))), n)).await;
    }
    let mut deferred = 0;
    while heard.lanes.in_flight() + deferred < 30 {
        let waits = heard.waits().await;
        assert_eq!((waits.attempts, waits.deferrals), (0, 1));
        deferred += 1;
    }
    assert!(deferred >= 20, "{deferred}");
    assert!(heard.lanes.in_flight() >= 5, "half of the memory is for any lane: {}", heard.lanes.in_flight());
    timeout(Duration::from_secs(1), budget.wait_for_capacity()).await.expect("there is room for others");
}

#[tokio::test]
async fn sender_waits_for_a_full_lane_that_moves() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config { concurrency: 1, queue_calls: 4, ..config() });
    let target = target(&receiver.url("/"));
    heard.offer_all(&target, 0..4).await;
    receiver.heard().await;
    assert_eq!(heard.lanes.in_flight(), 4);
    let lanes = heard.lanes.clone();
    let mut send = pin!(lanes.send(call(&target, 4, &heard.book)));
    tokio::select! {
        biased;
        () = &mut send => panic!("it did not wait"),
        () = ready(()) => receiver.release(5),
    }
    send.await;
    for _ in 0..5 {
        heard.delivered().await;
    }
    assert_eq!(heard.book.settled(), 5);
}

#[tokio::test]
async fn full_hanging_lane_defers_calls_soon_then_immediately() {
    let mut receiver = Receiver::start(|_| Reply::Silence).await;
    let long = Duration::from_secs(30);
    let mut heard = Heard::new(Config { concurrency: 1, queue_calls: 4, queue_wait: long, ..config() });
    let target = target(&receiver.url("/"));
    heard.offer_all(&target, 0..4).await;
    receiver.heard().await;
    let started = Instant::now();
    heard.offer(&target, 4).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let waits = heard.waits().await;
    assert_eq!((waits.n, waits.attempts, waits.deferrals), (4, 0, 1));
    assert_eq!(waits.wait, Duration::ZERO, "it is sent as soon as there is room");
    // A lane that is known to hang is not waited for again.
    let started = Instant::now();
    heard.offer_all(&target, 5..105).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for n in 5..105 {
        assert_eq!(heard.waits().await.n, n);
    }
    assert_eq!(heard.lanes.in_flight(), 4);
}

#[tokio::test]
async fn call_that_is_queued_too_long_is_deferred() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let wait = Duration::from_millis(50);
    let mut heard = Heard::new(Config { concurrency: 1, queue_wait: wait, ..config() });
    let target = target(&receiver.url("/"));
    heard.offer_all(&target, 0..3).await;
    receiver.heard().await;
    for n in 1..3 {
        let waits = heard.waits().await;
        assert_eq!((waits.n, waits.attempts, waits.deferrals), (n, 0, 1));
    }
    assert_eq!(heard.lanes.in_flight(), 1, "the call under way stays");
    receiver.release(1);
    assert_eq!(heard.delivered().await, 1);
}

#[tokio::test]
async fn queued_bytes_are_limited() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    // Bodies have 7 bytes; the limit is exceeded by at most one.
    let mut heard = Heard::new(Config { queue_bytes: 8, ..config() });
    let target = target(&receiver.url("/"));
    heard.offer_all(&target, 0..3).await;
    assert_eq!(heard.waits().await.n, 2);
    receiver.heard().await;
    receiver.release(2);
    heard.delivered().await;
    heard.delivered().await;
}

#[tokio::test]
async fn calls_in_memory_over_all_lanes_are_limited() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config { max_calls: 3, ..config() });
    let targets = ["/a", "/b", "/c", "/d"].map(|path| target(&receiver.url(path)));
    for (target, n) in targets.iter().zip(0..3) {
        heard.offer(target, n).await;
    }
    let lanes = heard.lanes.clone();
    let mut send = pin!(lanes.send(call(&targets[3], 3, &heard.book)));
    tokio::select! {
        biased;
        () = &mut send => panic!("it did not wait"),
        _ = receiver.heard() => receiver.release(4),
    }
    send.await;
    for _ in 0..4 {
        heard.delivered().await;
    }
}

#[tokio::test]
async fn repeatedly_failing_endpoint_gets_only_probes() {
    let works = Arc::new(AtomicBool::new(false));
    let answer = works.clone();
    let mut receiver =
        Receiver::start(move |_| Reply::Status(if answer.load(Ordering::SeqCst) { 200 } else { 500 })).await;
    let never = vec![Duration::from_secs(40); 9];
    let limits = Config { concurrency: 1, breaker_failures: 3, retry: never, ..config() };
    let mut heard = Heard::new(limits);
    let target = target(&receiver.url("/"));
    // The first three fail and wait in memory for their retries; the others are turned away.
    heard.offer_all(&target, 0..3).await;
    for _ in 0..3 {
        receiver.heard().await;
    }
    let mut failing = 3;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(900) {
        heard.offer(&target, failing).await;
        failing += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One may have been queued before the third failure was known. It was deferred as well.
    for _ in 3..failing {
        let waits = heard.waits().await;
        assert_eq!((waits.attempts, waits.deferrals), (0, 1));
    }
    works.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    heard.offer(&target, 1000).await;
    assert_eq!(heard.delivered().await, 1, "the probe");
    heard.offer_all(&target, 1001..1010).await;
    for _ in 1001..1010 {
        heard.delivered().await;
    }
}

#[tokio::test]
async fn call_is_exhausted_if_its_endpoint_fails_longer_than_the_schedule() {
    let receiver = Receiver::start(|_| Reply::Status(500)).await;
    let mut heard = Heard::new(Config { breaker_failures: 1, retry: vec![], ..config() });
    let target = target(&receiver.url("/"));
    heard.offer(&target, 0).await;
    assert_eq!(heard.exhausted().await, ("status_5xx", 1));
    heard.offer(&target, 1).await;
    assert_eq!(heard.waits().await.n, 1, "it is young");
    let mut old = call(&target, 2, &heard.book);
    old.first_due_ms -= 61_000;
    heard.lanes.send_retried(old).await;
    assert_eq!(heard.waits().await.n, 2, "the endpoint has only just begun to fail");
    for (age, lasted, is_over) in [(61, 59, false), (59, 61, false), (61, 61, true)] {
        let mut call = call(&target, 3, &heard.book);
        call.first_due_ms -= age * 1000;
        let cause = FailureCause { class: "status_5xx", status: Some(500), text: String::new() };
        let trouble = FailureSummary { cause, duration: Duration::from_secs(lasted) };
        heard.lanes.context.defer(call, OverflowReason::Failing(Some(trouble)));
        assert_eq!(heard.end().await.outcome.is_some(), is_over, "{age} s old, failing for {lasted} s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_to_a_small_lane_lose_nothing() {
    const SENDERS: u32 = 8;
    const EACH: u32 = 100;
    let receiver = Receiver::start(|n| Reply::Status(if n % 7 == 3 { 500 } else { 200 })).await;
    let mut heard = Heard::new(Config { concurrency: 2, queue_calls: 4, retry: vec![Duration::ZERO; 30], ..config() });
    let target = target(&receiver.url("/"));
    for sender in 0..SENDERS {
        let (lanes, target, book) = (heard.lanes.clone(), target.clone(), heard.book.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                lanes.send(call(&target, sender * EACH + n, &book)).await;
            }
        });
    }
    let mut seen = vec![false; (SENDERS * EACH) as usize];
    for _ in 0..SENDERS * EACH {
        let end = heard.end().await;
        assert_eq!(end.outcome, Some(Outcome::Delivered));
        assert!(!std::mem::replace(&mut seen[end.n as usize], true), "{} ended twice", end.n);
    }
    heard.lanes.stop().await;
    assert_eq!((heard.book.settled(), heard.book.abandoned()), (seen.len(), 0));
}

#[tokio::test]
async fn stuck_endpoint_does_not_delay_another() {
    let mut stuck = Receiver::start(|_| Reply::Silence).await;
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { concurrency: 1, queue_calls: 2, ..config() });
    let dead = target(&stuck.url("/"));
    heard.offer_all(&dead, 0..2).await;
    stuck.heard().await;
    heard.offer(&target(&receiver.url("/")), 2).await;
    assert_eq!(heard.end().await.n, 2);
}

#[tokio::test]
async fn stop_finishes_running_attempts_and_drops_the_rest_unsettled() {
    let mut receiver = Receiver::start(|n| if n == 0 { Reply::Status(503) } else { Reply::Held(200) }).await;
    let later = vec![Duration::from_secs(40)];
    let mut heard = Heard::new(Config { concurrency: 1, retry: later, ..config() });
    let target = target(&receiver.url("/"));
    // One call waits for a retry, one is under way, one is queued.
    heard.offer_all(&target, 0..3).await;
    receiver.heard().await;
    receiver.heard().await;
    let lanes = heard.lanes.clone();
    let mut stop = pin!(lanes.stop());
    tokio::select! {
        biased;
        () = &mut stop => panic!("it did not wait for the attempt under way"),
        () = ready(()) => {}
    }
    receiver.release(1);
    stop.await;
    assert_eq!(heard.end().await.n, 1);
    assert_eq!((heard.book.settled(), heard.book.abandoned()), (1, 2));
    heard.lanes.send_retried(call(&target, 3, &heard.book)).await;
    heard.lanes.send(call(&target, 4, &heard.book)).await;
    assert_eq!((heard.lanes.in_flight(), heard.book.abandoned()), (0, 4));
}

#[tokio::test]
async fn idle_lane_is_removed_and_created_again() {
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { idle_timeout: Duration::from_millis(20), ..config() });
    let target = target(&receiver.url("/"));
    for n in 0..2 {
        heard.offer(&target, n).await;
        assert_eq!(heard.delivered().await, 1);
        // A worker closes its connection when it ends.
        receiver.closed().await;
        assert_eq!(heard.lanes.lane_map.lane_count(), 0);
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn lane_of_a_failing_endpoint_is_kept_without_calls() {
    let mut receiver = Receiver::start(|_| Reply::Status(500)).await;
    let (idle, pause) = (Duration::from_millis(20), Duration::from_secs(60));
    let once = Config { idle_timeout: idle, breaker_failures: 1, breaker_pause: pause, retry: vec![], ..config() };
    let mut heard = Heard::new(once);
    let target = target(&receiver.url("/"));
    heard.offer(&target, 1).await;
    assert_eq!(heard.exhausted().await, ("status_5xx", 1));
    receiver.heard().await;
    receiver.closed().await;
    heard.lanes.lane_map.maintain();
    assert_eq!(heard.lanes.lane_map.lane_count(), 1);
    heard.offer(&target, 2).await;
    heard.waits().await;
    assert!(receiver.not_heard(), "its breaker is still open");
}

#[tokio::test]
async fn lane_is_kept_after_a_rejected_call_until_a_call_succeeds() {
    let mut receiver = Receiver::start(|n| Reply::Status(if n == 0 { 404 } else { 200 })).await;
    let idle = Duration::from_millis(20);
    let mut heard = Heard::new(Config { idle_timeout: idle, retry: vec![], ..config() });
    let target = target(&receiver.url("/"));
    heard.offer(&target, 1).await;
    assert_eq!(heard.exhausted().await, ("status_4xx", 1));
    receiver.closed().await;
    heard.lanes.lane_map.maintain();
    assert_eq!(heard.lanes.lane_map.lane_count(), 1);
    heard.offer(&target, 2).await;
    heard.delivered().await;
    receiver.closed().await;
    heard.lanes.lane_map.maintain();
    assert_eq!(heard.lanes.lane_map.lane_count(), 0);
}

#[tokio::test]
async fn cancelled_calls_use_no_throttle_slots() {
    const DROPPED: u32 = 40;
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { queue_wait: Duration::from_secs(60), ..config() });
    let _shares = (0..4).map(|partition| heard.lanes.lease_slots(partition)).collect::<Vec<_>>();
    let slow = Arc::new(Target { call_throttling: Some(1), ..Arc::into_inner(target(&receiver.url("/"))).unwrap() });
    for n in 0..DROPPED {
        let call = call(&slow, n, &heard.book);
        call.message.event_state.mark_ended();
        heard.lanes.send(call).await;
    }
    heard.offer(&slow, DROPPED).await;
    let all = async {
        for _ in 0..DROPPED {
            assert_eq!(heard.end().await.outcome, Some(Outcome::Cancelled));
        }
        heard.delivered().await
    };
    // If each had taken a slot, it would take longer: one second per call.
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), all).await, Ok(1));
}

#[tokio::test]
async fn kept_lane_is_maintained_again_when_calls_arrive() {
    let mut receiver = Receiver::start(|n| if n == 0 { Reply::Status(500) } else { Reply::Held(200) }).await;
    let (idle, wait) = (Duration::from_millis(20), Duration::from_millis(200));
    let once = Config { concurrency: 1, idle_timeout: idle, queue_wait: wait, retry: vec![], ..config() };
    let mut heard = Heard::new(once);
    let target = target(&receiver.url("/"));
    heard.offer(&target, 1).await;
    assert_eq!(heard.exhausted().await, ("status_5xx", 1));
    receiver.heard().await;
    receiver.closed().await;
    heard.lanes.lane_map.maintain();
    assert_eq!((heard.lanes.lane_map.lane_count(), heard.lanes.lane_map.busy_count()), (1, 0));
    heard.offer(&target, 2).await;
    assert_eq!(heard.lanes.lane_map.busy_count(), 1);
    receiver.heard().await;
    heard.offer(&target, 3).await;
    assert_eq!(heard.waits().await.n, 3, "it was queued for too long");
    receiver.release(1);
    assert_eq!(heard.delivered().await, 1);
}

#[tokio::test]
async fn worker_woken_at_its_idle_timeout_parks_once() {
    let heard = Heard::new(config());
    let target = target("http://127.0.0.1:9/");
    let lane = heard.lanes.lane_map.lane(&call(&target, 0, &heard.book)).unwrap();
    // The first call starts a worker task, whose place this test takes before it runs.
    lane.push(call(&target, 0, &heard.book)).ok().unwrap();
    let mut worker = Worker::new(lane.clone());
    assert!(matches!(worker.take(), NextAction::Send(_)));
    assert!(matches!(worker.take(), NextAction::Park));
    // Here its idle time ends, and a call arrives before it has left.
    lane.push(call(&target, 1, &heard.book)).ok().unwrap();
    assert!(!worker.leave().await);
    assert!(matches!(worker.next().await, Some(held) if held.call.source_position.offset == 1));
    tokio::select! {
        biased;
        _ = worker.next() => panic!("there is no work"),
        () = ready(()) => {}
    }
    assert_eq!(lane.parked_workers(), 1);
}

#[tokio::test]
async fn call_throttling_limits_the_calls_in_any_second() {
    const CALLS: u32 = 40;
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { queue_wait: Duration::from_secs(60), ..config() });
    let _shares = [0, 1, 2, 3].map(|partition| heard.lanes.lease_slots(partition));
    let mut throttled = Arc::into_inner(target(&receiver.url("/"))).unwrap();
    throttled.call_throttling = Some(20);
    heard.offer_all(&Arc::new(throttled), 0..CALLS).await;
    let mut arrived = Vec::new();
    for _ in 0..CALLS {
        heard.delivered().await;
        arrived.push(receiver.heard().await);
    }
    let most = most_in_a_second(&arrived);
    assert!(most <= 20, "{most} in a second");
    let took = arrived.last().unwrap().at - arrived[0].at;
    assert!(took < Duration::from_secs(15), "{CALLS} calls took {took:?}");
}

#[tokio::test]
async fn instance_without_slots_defers_throttled_calls_immediately() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { queue_wait: Duration::from_secs(3600), ..config() });
    let mut throttled = Arc::into_inner(target(&receiver.url("/"))).unwrap();
    throttled.call_throttling = Some(2);
    heard.offer_all(&Arc::new(throttled), 0..3).await;
    for _ in 0..3 {
        assert_eq!(heard.waits().await.wait, Duration::ZERO, "the reader of the overflow log has slots");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn throttled_call_waits_for_a_slot_beyond_the_queue_wait() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { queue_wait: Duration::from_millis(20), ..config() });
    // One slot in 2.1 s: a quarter of two calls a second.
    let _share = heard.lanes.lease_slots(0);
    let mut throttled = Arc::into_inner(target(&receiver.url("/"))).unwrap();
    throttled.call_throttling = Some(2);
    heard.offer(&Arc::new(throttled), 1).await;
    assert_eq!(heard.delivered().await, 1);
}

#[tokio::test]
async fn throttled_calls_of_a_failing_endpoint_are_deferred() {
    let receiver = Receiver::start(|_| Reply::Status(500)).await;
    let mut heard = Heard::new(Config { breaker_failures: 1, retry: vec![], ..config() });
    let _shares = [0, 1, 2, 3].map(|partition| heard.lanes.lease_slots(partition));
    let mut throttled = Arc::into_inner(target(&receiver.url("/"))).unwrap();
    throttled.call_throttling = Some(1);
    let throttled = Arc::new(throttled);
    heard.offer(&throttled, 0).await;
    assert_eq!(heard.exhausted().await, ("status_5xx", 1));
    heard.offer_all(&throttled, 1..31).await;
    for _ in 1..31 {
        assert_eq!(heard.waits().await.wait, Duration::ZERO, "until its endpoint works again");
    }
}

#[tokio::test]
async fn lane_takes_overflow_calls_up_to_its_room_and_returns_them_on_drain() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config { concurrency: 1, ..config() });
    let target = target(&receiver.url("/"));
    let mut taken = 0;
    loop {
        let waiting = Call { from_overflow: true, ..call(&target, taken, &heard.book) };
        match heard.lanes.offer(waiting) {
            Ok(()) => taken += 1,
            Err(back) => break back.receipt.put_back(),
        }
    }
    assert!((2..20).contains(&taken), "{taken}");
    assert_eq!(heard.book.put_back(), 1, "the next one keeps waiting");
    receiver.heard().await;
    heard.book.draining.store(true, Ordering::SeqCst);
    heard.lanes.lane_map.maintain();
    assert_eq!(heard.lanes.in_flight(), 1, "the call under way stays");
    assert_eq!(heard.book.put_back(), taken as usize);
    receiver.release(1);
    assert_eq!(heard.delivered().await, 1);
}

#[tokio::test]
async fn places_reserved_for_waiting_calls_defer_fresh_calls() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config { concurrency: 1, queue_wait: Duration::from_secs(60), ..config() });
    let target = target(&receiver.url("/"));
    heard.offer(&target, 0).await;
    receiver.heard().await;
    let line = heard.lanes.context.line(&call(&target, 0, &heard.book));
    for n in 1.. {
        heard.lanes.takes(line);
        heard.offer(&target, n).await;
        if heard.lanes.in_flight() <= n as usize {
            break;
        }
        assert!(n < 20, "places are reserved for waiting calls");
    }
    heard.waits().await;
    assert!(heard.lanes.takes(line).calls > 0);
}
