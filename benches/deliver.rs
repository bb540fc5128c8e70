//! The deliver stage, compared with its floor: bare hyper connections that post the same bodies, unsigned and without
//! queues, to the same receiver in the same run. Each side sends on one thread and the receiver runs on another, so
//! the sender's CPU time can be measured separately.
//!
//! `cargo bench --bench deliver`

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outhook::decode::{EventDate, Sequence};
use outhook::definition::{Endpoint, MessageOrder, Secret};
use outhook::deliver::{
    Call, CallSink, Config, EndpointEvent, FailureCause, Lanes, Outcome, WaitingTopics, WriteCount,
};
use outhook::id::{CallId, Line, MessageId, RecordPosition};
use outhook::message_log::{CallStatus, LogEntry};
use outhook::receipt::{Budget, Receipt, ReceiptTracker};
use outhook::render::Message;
use outhook::rules::{EventState, Target};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Must divide the number of calls.
const CONNECTIONS: usize = 32;
const ROUNDS: usize = 5;

fn main() {
    let calls = if std::env::args().any(|argument| argument == "--test") { 640 } else { 40_000 };
    let receiver = Receiver::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut best = [Run::WORST; 2];
    for _ in 0..ROUNDS {
        let floor = receiver.measure(&runtime, calls, bare(receiver.address, calls));
        let lanes = receiver.measure(&runtime, calls, through_lanes(receiver.address, calls));
        best = [best[0].better(floor), best[1].better(lanes)];
    }
    let [floor, lanes] = best;
    println!("best of {ROUNDS} rounds of {calls} calls over {CONNECTIONS} connections, one sending thread");
    println!("floor: {floor}\nlanes: {lanes}");
    println!(
        "lanes / floor: {:.2} of its calls per second, {:.2} of its CPU per call",
        lanes.per_second / floor.per_second,
        lanes.cpu_us / floor.cpu_us
    );
}

#[derive(Clone, Copy)]
struct Run {
    per_second: f64,
    cpu_us: f64,
}

impl Run {
    const WORST: Run = Run { per_second: 0.0, cpu_us: f64::INFINITY };

    fn better(self, other: Run) -> Run {
        Run { per_second: self.per_second.max(other.per_second), cpu_us: self.cpu_us.min(other.cpu_us) }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>7.0} calls per second, {:.2} µs of the sender's CPU per call", self.per_second, self.cpu_us)
    }
}

/// Answers every request with 200, on its own thread.
struct Receiver {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Receiver {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let heard = requests.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(serve(stream, heard.clone()));
                }
            });
        });
        Self { address, requests }
    }

    fn measure(&self, runtime: &tokio::runtime::Runtime, calls: usize, send: impl Future<Output = ()>) -> Run {
        let (heard, cpu, start) = (self.requests.load(Ordering::SeqCst), thread_cpu(), Instant::now());
        runtime.block_on(send);
        let (took, cpu) = (start.elapsed(), thread_cpu() - cpu);
        assert_eq!(self.requests.load(Ordering::SeqCst) - heard, calls, "every call arrives once");
        Run { per_second: calls as f64 / took.as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / calls as f64 }
    }
}

async fn serve(stream: TcpStream, heard: Arc<AtomicUsize>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let heard = heard.clone();
        async move {
            request.into_body().collect().await.unwrap();
            heard.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// CPU time of this thread (Linux: /proc, nanoseconds on a processor).
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
}

fn body() -> Bytes {
    Bytes::from(format!("{{\"data\":\"{}\"}}", "x".repeat(600)))
}

async fn bare(address: SocketAddr, calls: usize) {
    let body = body();
    let senders = (0..CONNECTIONS).map(|_| {
        let body = body.clone();
        tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            for _ in 0..calls / CONNECTIONS {
                sender.ready().await.unwrap();
                let request =
                    Request::post("/hook").header("host", "localhost").header("content-type", "application/json");
                let answer = sender.send_request(request.body(Full::new(body.clone())).unwrap()).await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.unwrap();
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
}

async fn through_lanes(address: SocketAddr, calls: usize) {
    let (delivered, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let config = Config {
        concurrency: CONNECTIONS,
        allow_http: true,
        // No call may be deferred, even if the machine pauses.
        queue_wait: Duration::from_secs(60),
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
        ..Config::default()
    };
    let counts = Counts { delivered: delivered.clone(), calls, all: all.clone() };
    let retries = WaitingTopics {
        tiers: &[Duration::from_secs(1)],
        overflow_partitions: 1,
        row_order_partitions: 1,
        row_order_bytes: 1 << 30,
    };
    let lanes = Lanes::new(config, retries, Arc::new(counts)).unwrap();
    let (body, book, budget) = (body(), Arc::new(NoBook), Budget::new(1 << 30));
    let topic: Arc<str> = "changes".into();
    let target = Arc::new(Target {
        webhook: "abc123".parse().unwrap(),
        account: "acme".into(),
        secret: Secret::from_random([7; 32]),
        version: 1,
        old_secret: None,
        call_throttling: None,
        timeout: None,
        retry: None,
        headers: Box::default(),
        authorization: None,
        order: MessageOrder::None,
        endpoints: [Arc::new(Endpoint::parse(&format!("http://{address}/hook")).unwrap())].into(),
        is_gone: false.into(),
    });
    for n in 0..calls {
        let message = Message {
            id: MessageId(uuid::Uuid::from_u128(n as u128)),
            call_id: CallId(uuid::Uuid::from_u128(n as u128)),
            event: "def456".parse().unwrap(),
            target: target.clone(),
            event_state: EventState::default(),
            endpoint: 0,
            event_date: EventDate { at: "2026-01-02T03:04:05.678Z".parse().unwrap(), fraction_digits: 3 },
            sequence: Sequence::Offset { partition: 0, offset: n as i64 },
            body: body.clone(),
        };
        let place = RecordPosition { topic: topic.clone(), partition: 0, offset: n as i64 };
        let receipt = Receipt::open(book.clone(), n as u64, budget.clone());
        lanes
            .send(Call {
                message,
                source_position: place,
                appended_ms: 0,
                receipt,
                attempts: 0,
                deferrals: 0,
                first_due_ms: 0,
                write_count: WriteCount::FIRST,
                row_key: None,
                from_overflow: false,
            })
            .await;
    }
    all.notified().await;
    lanes.stop().await;
}

/// Counts delivered calls; any other outcome fails the bench.
struct Counts {
    delivered: Arc<AtomicUsize>,
    calls: usize,
    all: Arc<Notify>,
}

impl CallSink for Counts {
    fn finish(&self, call: Call, outcome: Outcome) {
        assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
        call.receipt.settle();
        if self.delivered.fetch_add(1, Ordering::SeqCst) + 1 == self.calls {
            self.all.notify_one();
        }
    }

    fn write_retry(&self, _: Call, _: Duration, cause: Option<&FailureCause>) {
        panic!("a call was retried or deferred: {cause:?}");
    }

    fn write_overflow(&self, call: Call, _: Line, wait: Duration, cause: Option<&FailureCause>) {
        self.write_retry(call, wait, cause);
    }

    fn report_endpoint_event(&self, _: &Call, endpoint: &str, news: &EndpointEvent<'_>) {
        panic!("{endpoint}: {news:?}");
    }

    fn logged_body_limit(&self, _: CallStatus, _: u32) -> Option<usize> {
        None
    }

    fn log(&self, entry: LogEntry) {
        panic!("{entry:?}");
    }
}

struct NoBook;

impl ReceiptTracker for NoBook {
    fn is_revoked(&self) -> bool {
        false
    }

    fn add_share(&self, _: u64) {}
    fn settle_share(&self, _: u64) {}
    fn abandon_share(&self, _: u64) {
        panic!("a call was lost");
    }
    fn put_back(&self, _: u64) {
        panic!("a call was put back");
    }
    fn is_draining(&self) -> bool {
        false
    }
}
