//! Lanes: bounds, connections, independence, coming and going.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use super::super::lane::Task;
use super::super::worker::Worker;
use super::super::{Config, Outcome};
use super::calls::{Heard, call, config, target};
use super::receiver::{Receiver, Reply};

#[tokio::test]
async fn a_connection_is_used_again() {
    let receiver = Receiver::start(|n| Reply::Body(200, n)).await;
    let mut heard = Heard::new(config());
    let target = target(&receiver.url("/"));
    for n in 0..20 {
        heard.offer(&target, n);
        heard.delivered().await;
    }
    assert!(receiver.connections() <= 2, "{} connections", receiver.connections());
}

#[tokio::test]
async fn no_more_calls_at_once_than_allowed() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config { concurrency: 3, ..config() });
    let target = target(&receiver.url("/"));
    (0..9).for_each(|n| heard.offer(&target, n));
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
async fn a_full_lane_gives_a_call_back_and_send_waits_for_room() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config { concurrency: 1, queue_calls: 4, ..config() });
    let target = target(&receiver.url("/"));
    (0..4).for_each(|n| heard.offer(&target, n));
    receiver.heard().await;
    assert_eq!(heard.lanes.in_flight(), 4);
    let back = heard.lanes.offer(call(&target, 4, &heard.book)).expect_err("there was room for a fifth");
    assert_eq!(back.place.offset, 4);

    let lanes = heard.lanes.clone();
    let mut send = pin!(lanes.send(back));
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
async fn bytes_are_bounded_too() {
    let mut receiver = Receiver::start(|_| Reply::Held(200)).await;
    // Bodies have 7 bytes; the limit is exceeded by at most one.
    let mut heard = Heard::new(Config { queue_bytes: 8, ..config() });
    let target = target(&receiver.url("/"));
    (0..2).for_each(|n| heard.offer(&target, n));
    assert!(heard.lanes.offer(call(&target, 2, &heard.book)).is_err());
    receiver.heard().await;
    receiver.release(2);
    heard.delivered().await;
    heard.delivered().await;
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
        assert!(matches!(end.outcome, Outcome::Delivered));
        assert!(!std::mem::replace(&mut seen[end.n as usize], true), "{} ended twice", end.n);
    }
    heard.lanes.stop().await;
    assert_eq!((heard.book.settled(), heard.book.abandoned()), (seen.len(), 0));
}

#[tokio::test]
async fn one_endpoint_does_not_hold_up_another() {
    let mut stuck = Receiver::start(|_| Reply::Silence).await;
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { concurrency: 1, queue_calls: 2, ..config() });
    let dead = target(&stuck.url("/"));
    (0..2).for_each(|n| heard.offer(&dead, n));
    stuck.heard().await;
    heard.offer(&target(&receiver.url("/")), 2);
    assert_eq!(heard.end().await.n, 2);
}

#[tokio::test]
async fn stop_lets_the_attempts_under_way_end_and_drops_the_rest_unsettled() {
    let mut receiver = Receiver::start(|n| if n == 0 { Reply::RetryAfter(503, "50") } else { Reply::Held(200) }).await;
    let mut heard = Heard::new(Config { concurrency: 1, ..config() });
    let target = target(&receiver.url("/"));
    // One waits for a retry, one is under way, one is queued.
    (0..3).for_each(|n| heard.offer(&target, n));
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
    assert!(heard.lanes.offer(call(&target, 3, &heard.book)).is_err());
    heard.lanes.send(call(&target, 4, &heard.book)).await;
    assert_eq!(heard.lanes.in_flight(), 0);
}

#[tokio::test]
async fn a_lane_without_calls_ends_and_comes_again() {
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { idle_timeout: Duration::from_millis(20), ..config() });
    let target = target(&receiver.url("/"));
    for n in 0..2 {
        heard.offer(&target, n);
        assert_eq!(heard.delivered().await, 1);
        // A worker closes its connection when it has ended.
        receiver.closed().await;
        assert_eq!(heard.lanes.shared.lane_count(), 0);
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_worker_woken_as_its_idle_time_ends_parks_once() {
    let heard = Heard::new(config());
    let target = target("http://127.0.0.1:9/");
    let lane = heard.lanes.shared.lane(&target.endpoints[0]).unwrap();
    // The first call starts a worker, whose place is taken before it runs.
    lane.push(call(&target, 0, &heard.book)).ok().unwrap();
    let mut worker = Worker::new(lane.clone());
    assert!(matches!(worker.take(), Task::Send(_)));
    assert!(matches!(worker.take(), Task::Park));
    // Here its idle time ends, and a call comes before it has left.
    lane.push(call(&target, 1, &heard.book)).ok().unwrap();
    assert!(!worker.leave().await);
    assert!(matches!(worker.next().await, Some(held) if held.call.place.offset == 1));
    tokio::select! {
        biased;
        _ = worker.next() => panic!("there is no work"),
        () = ready(()) => {}
    }
    assert_eq!(lane.parked(), 1);
}
