//! Tests over real connections, like those of operators' tools.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::super::{Access, AccountLimits, Api, GuessLimiter};
use super::*;
use crate::catalogue::Catalogue;
use crate::dead_letters::DeadLetterReader;
use crate::definition::rules::Policy;
use crate::lifecycle::Readiness;
use crate::matching::Index;
use crate::message_log::{self, MessageLogReader};
use crate::redelivery::{Redriver, Resender};
use crate::settle::{self};
use crate::stats::{self, Stats};
use crate::store::{self, Store};
use crate::telemetry::Metrics;

struct Server {
    address: SocketAddr,
    readiness: Readiness,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// The metrics recorder. A process has only one, so all tests share it.
fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| Metrics::start().expect("metrics are started once")).clone()
}

async fn start() -> Server {
    let listener = Listener::bind(&Config { address: ([127, 0, 0, 1], 0).into() }).await.unwrap();
    let (address, readiness) = (listener.address(), Readiness::default());
    let stop = CancellationToken::new();
    // Nothing listens on that port: metrics and health checks need no broker.
    let kafka = HashMap::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
    let (index, catalogue) = (Arc::<Index>::default(), Arc::<Catalogue>::default());
    let api = Api {
        metrics: metrics(),
        readiness: readiness.clone(),
        store: Store::start(&store::Config::default(), &kafka, index.clone()).unwrap(),
        stats: Stats::start(&stats::Config::default(), &kafka, index, catalogue.clone(), Arc::default()).unwrap(),
        catalogue,
        endpoints: Arc::default(),
        dead_letters: DeadLetterReader::new(&settle::DeadLettersConfig::default(), &kafka),
        message_log: MessageLogReader::new(&message_log::Config::default(), &kafka),
        resender: Resender::new(Box::new(|_| None), &settle::RetriesConfig::default(), &kafka),
        redriver: Redriver::new(&settle::DeadLettersConfig::default(), &settle::RetriesConfig::default(), &kafka),
        policy: Policy::default(),
        access: Access::default(),
        decoder_settings: Box::new(|_| None),
        attachment_url: None,
        guess_limiter: GuessLimiter::default(),
        account_limits: AccountLimits::new(store::Config::default().max_account_writes),
    };
    let serving = tokio::spawn(listener.serve(api.router(), stop.clone()));
    Server { address, readiness, stop, serving }
}

impl Server {
    /// Sends bytes and reads until the server closes: status and body.
    async fn send(&self, request: &str) -> (u16, String) {
        let (head, body) = self.exchange(request).await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Like [`Self::send`], but returns the whole head.
    async fn exchange(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
    }

    async fn get_json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn readiness_names_the_missing_conditions() {
    let server = start().await;
    let known = server.readiness.condition("definitions caught up");
    let assigned = server.readiness.condition("partitions assigned");
    known.set(true);
    let missing = json!({"status": "not ready", "missing": ["partitions assigned"]});
    assert_eq!(server.get_json("/health/ready").await, (503, missing));
    assigned.set(true);
    assert_eq!(server.get_json("/health/ready").await, (200, json!({"status": "ready"})));
    assert_eq!(server.get_json("/health/live").await, (200, json!({"status": "live"})));
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_buckets() {
    let server = start().await;
    ::metrics::histogram!("outhook_listener_test_seconds").record(0.3);
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "outhook_listener_test_seconds_bucket{le=\"0.25\"} 0",
        "outhook_listener_test_seconds_bucket{le=\"0.5\"} 1",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("outhook_build_info{version=\""), "{text}");
}

#[tokio::test]
async fn unknown_path_wrong_method_and_oversized_head_are_rejected() {
    let server = start().await;
    let (status, body) = server.get_json("/metric").await;
    assert_eq!((status, body["Message"].as_str().unwrap().contains("/openapi.json")), (404, true));
    assert_eq!((&body["Code"], &body["Resource"]), (&"ObjectNotFound".into(), &"/metric".into()));
    let post = "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(server.send(post).await.0, 405);
    let long = format!("GET /metrics HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    assert_eq!(server.send(&long).await.0, 431);
}

#[tokio::test]
async fn root_page_links_to_every_resource_without_scripts() {
    let server = start().await;
    let (head, page) = server.exchange("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let head = head.to_lowercase();
    for line in [
        "http/1.1 200 ok",
        "content-type: text/html; charset=utf-8",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "x-caspio-request-id: ",
    ] {
        assert!(head.lines().any(|found| found.starts_with(line)), "{line} is not in\n{head}");
    }
    assert!(!head.contains("script-src") && !page.contains("<script"), "{head}");
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links, ["/docs", "/openapi.json", "/health/ready", "/health/live", "/metrics"]);
    for link in links {
        assert_eq!(server.get(link).await.0, 200, "{link}");
    }
}

#[tokio::test]
async fn bind_error_names_the_taken_address() {
    let server = start().await;
    let error = Listener::bind(&Config { address: server.address }).await.err().expect("it is taken");
    assert!(error.to_string().starts_with(&format!("can't listen on listen.address = \"{}\": ", server.address)));
}

#[tokio::test]
async fn stop_closes_idle_connections_and_frees_the_address() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop.cancel();
    server.serving.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    TcpListener::bind(server.address).await.expect("the address is free again");
}

#[tokio::test]
async fn clients_that_never_read_do_not_block_health_checks() {
    let server = start().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // More answers than the kernel's buffers hold. None of them is read.
        let _ = stream.write_all("GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200).as_bytes()).await;
        silent.push(stream);
    }
    for _ in 0..3 {
        let live = tokio::time::timeout(Duration::from_secs(10), server.get_json("/health/live"));
        assert_eq!(live.await.expect("it has a permit"), (200, json!({"status": "live"})));
    }
}

#[tokio::test]
async fn requests_need_one_host_header_and_a_bounded_content_length() {
    let server = start().await;
    for hosts in ["", "host: x\r\nhost: y\r\n"] {
        let (status, body) =
            server.send(&format!("GET /openapi.json HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
        assert!(status == 400 && body.contains("exactly one Host header"), "{status} {body}");
    }
    assert_eq!(server.send("GET /openapi.json HTTP/1.0\r\n\r\n").await.0, 200);
    // Its body is never sent.
    let large = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\nconnection: close\r\ncontent-length: 99999999\r\n\r\n";
    let answered = tokio::time::timeout(Duration::from_secs(5), server.send(large));
    assert_eq!(answered.await.expect("it answers before the body arrives").0, 413);
}

#[tokio::test]
async fn oversized_upload_gets_413_even_if_sent_before_reading() {
    let server = start().await;
    let body = vec![b' '; 8 * 1024 * 1024];
    let chunk = format!("{:x}\r\n", body.len()).into_bytes();
    let lengths = [
        (format!("content-length: {}", body.len()), vec![body.as_slice()]),
        ("transfer-encoding: chunked".to_owned(), vec![chunk.as_slice(), body.as_slice(), b"\r\n0\r\n\r\n".as_slice()]),
    ];
    for (length, parts) in lengths {
        let head = format!("POST /oauth/token HTTP/1.1\r\nhost: x\r\n{length}\r\nconnection: close\r\n");
        let head = format!("{head}content-type: application/x-www-form-urlencoded\r\n\r\n");
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        for part in parts {
            stream.write_all(part).await.expect("all of it is read");
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the answer comes whole");
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
    }
}
