//! Receivers that answer byte by byte, without end, or too much. A limit ends each, and none delays the others.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::{Config, Outcome};
use super::calls::{Heard, config, target};

/// What a receiver sends: a first part, then the rest piece by piece, or as fast as it can, without end.
#[derive(Clone, Copy)]
struct Slow {
    at_once: &'static [u8],
    without_end: &'static [u8],
    pause: Option<Duration>,
}

const PAUSE: Option<Duration> = Some(Duration::from_millis(5));

/// Serves every connection this way, and reports how long each lasted after its request.
async fn serve(slow: Slow) -> (String, mpsc::UnboundedReceiver<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (ends, ended) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let ends = ends.clone();
            tokio::spawn(async move {
                read_request(&mut stream).await;
                let began = Instant::now();
                let portion = slow.without_end.repeat(if slow.pause.is_some() { 1 } else { 4096 });
                let mut open = stream.write_all(slow.at_once).await.is_ok();
                while open {
                    open = stream.write_all(&portion).await.is_ok();
                    if let Some(pause) = slow.pause {
                        tokio::time::sleep(pause).await;
                    }
                }
                let _ = ends.send(began.elapsed());
            });
        }
    });
    (url, ended)
}

#[tokio::test]
async fn slow_response_head_times_out_unless_its_status_line_arrived() {
    for (at_once, class) in [
        (&b"HTTP/1.1 200 "[..], Some("timeout")),
        (b"HTTP/1.1 500 no\r\nx: ", Some("status_5xx")),
        (b"HTTP/1.1 200 OK\r\nx: ", None),
    ] {
        let (url, mut ended) = serve(Slow { at_once, without_end: b"0", pause: PAUSE }).await;
        let limit = Duration::from_millis(200);
        let mut heard = Heard::new(Config { first_byte_timeout: limit, retry: vec![], ..config() });
        let offered = Instant::now();
        heard.offer(&target(&url), 1).await;
        match (heard.end().await.outcome, class) {
            (Some(Outcome::Exhausted { cause }), Some(class)) => assert_eq!(cause.class, class, "{}", cause.text),
            (outcome, class) => assert_eq!((outcome, class), (Some(Outcome::Delivered), None)),
        }
        assert!(offered.elapsed() >= limit);
        let lasted = ended.recv().await.unwrap();
        assert!(lasted < limit * 50, "its connection is closed then: {lasted:?}");
    }
}

#[tokio::test]
async fn slow_or_endless_body_costs_only_its_connection() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
    for pause in [PAUSE, None] {
        let (url, mut ended) = serve(Slow { at_once: head, without_end: b"x", pause }).await;
        let mut heard = Heard::new(Config { concurrency: 1, ..config() });
        let target = target(&url);
        for n in 0..2 {
            heard.offer(&target, n).await;
            assert_eq!(heard.delivered().await, 1, "the status line has decided");
            let lasted = ended.recv().await.unwrap();
            assert!(lasted < Duration::from_secs(5), "{lasted:?}");
        }
    }
}

#[tokio::test]
async fn endless_response_head_is_cut_at_its_limit() {
    for (at_once, is_answer) in [(&b"HTTP/1.1 200 OK\r\nx-huge: "[..], true), (b"HTTP/1.1 200", false)] {
        let (url, mut ended) = serve(Slow { at_once, without_end: b"1", pause: None }).await;
        let mut heard = Heard::new(Config { retry: vec![], ..config() });
        heard.offer(&target(&url), 1).await;
        match is_answer {
            true => assert_eq!(heard.delivered().await, 1),
            false => assert_eq!(heard.exhausted().await, ("protocol", 1)),
        }
        ended.recv().await.unwrap();
    }
}

const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";

#[tokio::test]
async fn endless_interim_responses_are_cut_at_their_limit() {
    let (url, mut ended) = serve(Slow { at_once: INTERIM, without_end: INTERIM, pause: None }).await;
    let mut heard = Heard::new(Config { retry: vec![], ..config() });
    heard.offer(&target(&url), 1).await;
    let Some(Outcome::Exhausted { cause }) = heard.end().await.outcome else { panic!("delivered") };
    assert!(cause.class == "protocol" && cause.text.contains("interim responses"), "{}", cause.text);
    let lasted = ended.recv().await.unwrap();
    assert!(lasted < Duration::from_secs(5), "{lasted:?}");
}

#[tokio::test]
async fn interim_responses_do_not_extend_the_deadline() {
    let (url, mut ended) = serve(Slow { at_once: INTERIM, without_end: INTERIM, pause: PAUSE }).await;
    let limit = Duration::from_millis(200);
    let mut heard = Heard::new(Config { first_byte_timeout: limit, retry: vec![], ..config() });
    heard.offer(&target(&url), 1).await;
    assert_eq!(heard.exhausted().await, ("timeout", 1));
    let lasted = ended.recv().await.unwrap();
    assert!(lasted >= limit && lasted < limit * 50, "{lasted:?}");
}

/// Reads to the end of a test call's body.
async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
}
