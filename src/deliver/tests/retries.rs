//! The result of each kind of response, and of none.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::super::{Config, Outcome};
use super::calls::{Heard, SECRET, TIER, call, config, target};
use super::receiver::{Receiver, Reply};
use crate::rules::{EventState, Totals};

#[tokio::test]
async fn delivery_follows_standard_webhooks() {
    let mut receiver = Receiver::start(|_| Reply::Status(204)).await;
    let mut heard = Heard::new(config());
    heard.offer(&target(&receiver.url("/hook/a%20b?key=1")), 7).await;
    let end = heard.end().await;
    assert_eq!(end.outcome, Some(Outcome::Delivered));
    assert_eq!((heard.book.settled(), heard.book.abandoned()), (1, 0));

    let request = receiver.heard().await;
    assert_eq!((request.head.method.as_str(), request.head.uri.to_string().as_str()), ("POST", "/hook/a%20b?key=1"));
    assert_eq!(&request.body[..], br#"{"n":7}"#);
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    verifier.verify(&request.body, &request.head.headers).unwrap();
    let expected = [
        ("host", receiver.address.to_string()),
        ("content-type", "application/json".to_owned()),
        ("user-agent", format!("outhook/{}", env!("CARGO_PKG_VERSION"))),
        ("webhook-id", "00000000-0000-0000-0000-000000000007".to_owned()),
        ("outhook-sequence", "00000003-0000000000000007".to_owned()),
        ("outhook-event-date", "2026-01-02T03:04:05.678Z".to_owned()),
        ("content-length", "7".to_owned()),
    ];
    for (name, value) in &expected {
        assert_eq!(request.head.headers[*name], value.as_str());
    }
    // The only other headers are the timestamp and the signature.
    assert_eq!(request.head.headers.len(), expected.len() + 2);
}

#[tokio::test]
async fn failures_are_retried_until_a_2xx() {
    let receiver = Receiver::start(|n| Reply::Status([503, 302, 200][n])).await;
    let mut heard = Heard::new(config());
    heard.offer(&target(&receiver.url("/")), 1).await;
    assert_eq!(heard.delivered().await, 3);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn call_is_counted_once_and_each_failed_attempt_as_an_error() {
    let receiver = Receiver::start(|n| Reply::Status([503, 302, 200, 200][n])).await;
    let mut heard = Heard::new(config());
    let target = target(&receiver.url("/"));
    for (n, calls, errors) in [(1, 1, 2), (2, 1, 0)] {
        let call = call(&target, n, &heard.book);
        let live = call.message.event_state.clone();
        heard.lanes.send(call).await;
        heard.delivered().await;
        assert_eq!(live.counters().read(), Totals { messages: 0, calls, errors });
    }
}

#[tokio::test]
async fn call_is_exhausted_and_not_settled_after_the_last_retry() {
    let receiver = Receiver::start(|_| Reply::Status(404)).await;
    let mut heard = Heard::new(config());
    heard.offer(&target(&receiver.url("/secret-token?key=secret")), 1).await;
    let Some(Outcome::Exhausted { cause }) = heard.end().await.outcome else { panic!("delivered") };
    assert_eq!((cause.class, cause.status), ("status_4xx", Some(404)));
    assert_eq!(cause.text, format!("http://{} answered 404 Not Found", receiver.address));
    assert_eq!(heard.book.settled(), 0);
}

#[tokio::test]
async fn status_410_stops_the_webhook_immediately() {
    let receiver = Receiver::start(|_| Reply::Status(410)).await;
    let mut heard = Heard::new(config());
    let stopped = target(&receiver.url("/"));
    heard.offer(&stopped, 1).await;
    assert_eq!(heard.exhausted().await, ("gone", 1));
    heard.offer(&stopped, 2).await;
    assert_eq!(heard.exhausted().await, ("gone", 0), "nothing more is sent for the webhook");
    heard.offer(&target(&receiver.url("/")), 3).await;
    assert_eq!(heard.exhausted().await, ("gone", 1), "another definition is tried");
}

#[tokio::test]
async fn call_of_an_ended_event_is_cancelled_instead_of_retried() {
    let mut receiver = Receiver::start(|_| Reply::Held(503)).await;
    let mut heard = Heard::new(Config { concurrency: 1, ..config() });
    let target = target(&receiver.url("/"));
    let (under_way, queued) = (call(&target, 1, &heard.book), call(&target, 2, &heard.book));
    let events = [under_way.message.event_state.clone(), queued.message.event_state.clone()];
    for call in [under_way, queued] {
        heard.lanes.send(call).await;
    }
    receiver.heard().await;
    events.iter().for_each(EventState::mark_ended);
    receiver.release(1);
    let ends = [heard.end().await, heard.end().await];
    assert!(ends.iter().all(|end| end.outcome == Some(Outcome::Cancelled)));
    assert_eq!(ends.map(|end| (end.n, end.attempts)), [(2, 0), (1, 1)]);
}

#[tokio::test]
async fn retry_after_pauses_all_calls_to_the_endpoint() {
    let mut receiver = Receiver::start(|n| if n == 0 { Reply::RetryAfter(429, "2") } else { Reply::Status(200) }).await;
    let mut heard = Heard::new(Config { concurrency: 1, ..config() });
    let target = target(&receiver.url("/"));
    heard.offer(&target, 1).await;
    let first = receiver.heard().await.at;
    tokio::time::sleep(Duration::from_millis(100)).await;
    heard.offer(&target, 2).await;
    assert_eq!(heard.waits().await.n, 2);
    assert_eq!(heard.end().await.n, 1);
    assert!(receiver.heard().await.at - first >= Duration::from_secs(2));
}

#[tokio::test]
async fn long_waits_are_not_held_in_memory() {
    let receiver = Receiver::start(|_| Reply::RetryAfter(503, "120")).await;
    let limits = Config { retry: vec![TIER, Duration::ZERO], ..config() };
    let mut heard = Heard::new(limits);
    heard.offer(&target(&receiver.url("/")), 1).await;
    let waits = heard.waits().await;
    assert_eq!((waits.attempts, waits.deferrals), (1, 0));
    assert!(waits.wait >= TIER * 2 && waits.wait <= TIER * 12 / 5, "{:?}", waits.wait);
    assert_eq!(heard.lanes.in_flight(), 0);
}

#[tokio::test]
async fn missing_response_is_a_timeout() {
    let receiver = Receiver::start(|_| Reply::Silence).await;
    let short = Duration::from_millis(30);
    let answer = Config { first_byte_timeout: short, retry: vec![], ..config() };
    // Connecting takes some of the attempt's time, so its limit ends before that of the response.
    let whole = Config { connect_timeout: short, timeout: short, ..answer.clone() };
    for (config, what) in [(answer, "the response took longer than 30ms"), (whole, "the attempt took longer than 30ms")]
    {
        let mut heard = Heard::new(config);
        heard.offer(&target(&receiver.url("/")), 1).await;
        let Some(Outcome::Exhausted { cause }) = heard.end().await.outcome else { panic!("an answer came") };
        assert!(cause.class == "timeout" && cause.text.ends_with(what), "{}", cause.text);
    }
}

#[tokio::test]
async fn unaccepted_connection_is_a_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // No connection is accepted. The queue is full after one or two, and later clients get no answer.
    let mut queued = vec![];
    while let Ok(stream) = timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    let short = Config { connect_timeout: Duration::from_millis(100), retry: vec![], ..config() };
    let mut heard = Heard::new(short);
    heard.offer(&target(&format!("http://{address}/")), 1).await;
    let Some(Outcome::Exhausted { cause }) = heard.end().await.outcome else { panic!("it connected") };
    assert!(
        cause.class == "connect_timeout" && cause.text.ends_with("can't connect: it does not answer"),
        "{}",
        cause.text
    );
}

#[tokio::test]
async fn endless_or_large_body_costs_only_the_connection() {
    for reply in [Reply::EndlessBody(200), Reply::Body(200, 4096)] {
        let receiver = Receiver::start(move |_| reply).await;
        // The second call waits a second for the body of the first. The queue wait must not defer it meanwhile.
        let queue_wait = Duration::from_secs(10);
        let limits = Config { response_bytes: 4095, concurrency: 1, queue_wait, ..config() };
        let mut heard = Heard::new(limits);
        let target = target(&receiver.url("/"));
        for n in 0..2 {
            heard.offer(&target, n).await;
            assert_eq!(heard.delivered().await, 1);
        }
        assert_eq!(receiver.connections(), 2);
    }
}

#[tokio::test]
async fn non_http_response_is_distinguished_from_a_broken_connection() {
    for (answer, class) in [(&b"SSH-2.0-OpenSSH_9.6\r\n\r\n"[..], "protocol"), (b"", "broken")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            loop {
                let mut stream = listener.accept().await.unwrap().0;
                read_request(&mut stream).await;
                stream.write_all(answer).await.unwrap();
            }
        });
        let mut heard = Heard::new(config());
        heard.offer(&target(&url), 1).await;
        assert_eq!(heard.exhausted().await, (class, 3));
        server.abort();
    }
}

#[tokio::test]
async fn a_stale_connection_costs_no_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        // The first connection closes at its second request. The second connection serves it.
        let mut stale = listener.accept().await.unwrap().0;
        read_request(&mut stale).await;
        stale.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        read_request(&mut stale).await;
        drop(stale);
        let mut fresh = listener.accept().await.unwrap().0;
        read_request(&mut fresh).await;
        fresh.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        fresh
    });
    let mut heard = Heard::new(Config { retry: vec![], ..config() });
    let target = target(&url);
    for n in 0..2 {
        heard.offer(&target, n).await;
        assert_eq!(heard.delivered().await, 1);
    }
    server.await.unwrap();
}

#[tokio::test]
async fn closed_port_is_a_connect_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let mut heard = Heard::new(config());
    heard.offer(&target(&url), 1).await;
    assert_eq!(heard.exhausted().await, ("connect", 3));
}

#[tokio::test]
async fn http_and_private_addresses_are_refused_unless_allowed() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let by_name = format!("http://localhost:{}/", receiver.address.port());
    let no_http = Config { allow_http: false, ..config() };
    let no_loopback = Config { allow_addresses: vec![], ..config() };
    for (config, url, class) in [
        (no_http, receiver.url("/"), "http_refused"),
        (no_loopback.clone(), receiver.url("/"), "refused_address"),
        (no_loopback, by_name, "refused_address"),
    ] {
        let mut heard = Heard::new(config);
        heard.offer(&target(&url), 1).await;
        assert_eq!(heard.exhausted().await, (class, 3));
    }
    assert_eq!(receiver.connections(), 0);
}

/// Reads to the end of a test call's body.
async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
}
