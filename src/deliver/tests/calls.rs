//! Calls for tests, a tracker that counts what happens to their receipts, and lanes that report outcomes to the test.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::{Call, CallSink, Config, EndpointEvent, FailureCause, Lanes, Outcome, WaitingTopics, WriteCount};
use super::receiver;
use crate::decode::{EventDate, Sequence};
use crate::definition::{Endpoint, MessageOrder, Secret};
use crate::id::{CallId, Line, MessageId, RecordPosition};
use crate::message_log::{CallStatus, LogEntry};
use crate::receipt::{Budget, Receipt, ReceiptTracker};
use crate::render::Message;
use crate::rules::{EventState, Target};
use crate::time::since_1970;

/// Counts what happens to receipts.
#[derive(Default)]
pub struct CountingBook {
    settled: AtomicUsize,
    abandoned: AtomicUsize,
    put_back: AtomicUsize,
    pub revoked: AtomicBool,
    pub draining: AtomicBool,
}

impl CountingBook {
    pub fn settled(&self) -> usize {
        self.settled.load(Ordering::SeqCst)
    }

    pub fn put_back(&self) -> usize {
        self.put_back.load(Ordering::SeqCst)
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }
}

impl ReceiptTracker for CountingBook {
    fn add_share(&self, _: u64) {}

    fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    fn settle_share(&self, _: u64) {
        self.settled.fetch_add(1, Ordering::SeqCst);
    }

    fn abandon_share(&self, _: u64) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }

    fn put_back(&self, _: u64) {
        self.put_back.fetch_add(1, Ordering::SeqCst);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

pub fn target(url: &str) -> Arc<Target> {
    Arc::new(Target {
        webhook: "abc123".parse().unwrap(),
        account: "acme".into(),
        secret: Secret::try_from(SECRET.to_owned()).unwrap(),
        version: 1,
        old_secret: None,
        call_throttling: None,
        timeout: None,
        retry: None,
        headers: Box::default(),
        authorization: None,
        order: MessageOrder::None,
        endpoints: [Arc::new(Endpoint::parse(url).unwrap())].into(),
        is_gone: false.into(),
    })
}

/// The call with number n. Its body is that number as JSON.
pub fn call(target: &Arc<Target>, n: u32, book: &Arc<CountingBook>) -> Call {
    let message = Message {
        id: MessageId(uuid::Uuid::from_u128(n.into())),
        call_id: CallId(uuid::Uuid::from_u128(u128::from(n) << 64)),
        event: "def456".parse().unwrap(),
        target: target.clone(),
        event_state: EventState::default(),
        endpoint: 0,
        event_date: EventDate { at: "2026-01-02T03:04:05.678Z".parse().unwrap(), fraction_digits: 3 },
        sequence: Sequence::Offset { partition: 3, offset: n.into() },
        body: Bytes::from(format!("{{\"n\":{n}}}")),
    };
    Call {
        message,
        source_position: RecordPosition { topic: "changes".into(), partition: 3, offset: n.into() },
        appended_ms: 1_767_323_045_900,
        receipt: Receipt::open(book.clone(), n.into(), Budget::new(1 << 20)),
        attempts: 0,
        deferrals: 0,
        first_due_ms: since_1970().as_millis() as i64,
        write_count: WriteCount::FIRST,
        row_key: None,
        from_overflow: false,
    }
}

/// Allows http and loopback, and retries immediately, twice.
pub fn config() -> Config {
    Config {
        allow_http: true,
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
        retry: vec![Duration::ZERO; 2],
        ..Config::default()
    }
}

/// Lanes that report the ends of their calls. Delivered calls settle.
pub struct Heard {
    pub lanes: Arc<Lanes>,
    pub book: Arc<CountingBook>,
    ended: mpsc::UnboundedReceiver<End>,
    logged: mpsc::UnboundedReceiver<LogEntry>,
}

pub struct End {
    pub n: i64,
    pub attempts: u32,
    pub deferrals: u32,
    /// None for a call that waits in a topic.
    pub outcome: Option<Outcome>,
    pub wait: Duration,
}

/// Reports to the test.
struct Ears {
    ends: mpsc::UnboundedSender<End>,
    entries: mpsc::UnboundedSender<LogEntry>,
}

/// Max bytes of a response in an entry.
pub const RESPONSE_BYTES: usize = 46;

impl CallSink for Ears {
    fn finish(&self, call: Call, outcome: Outcome) {
        let Call { attempts, deferrals, receipt, source_position: place, .. } = call;
        if outcome == Outcome::Delivered {
            receipt.settle();
        }
        let _ =
            self.ends.send(End { n: place.offset, attempts, deferrals, outcome: Some(outcome), wait: Duration::ZERO });
    }

    fn write_retry(&self, call: Call, wait: Duration, _: Option<&FailureCause>) {
        let Call { attempts, deferrals, receipt, source_position: place, .. } = call;
        receipt.settle();
        let _ = self.ends.send(End { n: place.offset, attempts, deferrals, outcome: None, wait });
    }

    fn write_overflow(&self, call: Call, _: Line, wait: Duration, cause: Option<&FailureCause>) {
        self.write_retry(call, wait, cause);
    }

    fn report_endpoint_event(&self, _: &Call, _: &str, _: &EndpointEvent<'_>) {}

    fn logged_body_limit(&self, _: CallStatus, _: u32) -> Option<usize> {
        Some(RESPONSE_BYTES)
    }

    fn log(&self, entry: LogEntry) {
        let _ = self.entries.send(entry);
    }
}

/// The delay of the only retry topic. Shorter waits are spent in memory.
pub const TIER: Duration = Duration::from_secs(60);

impl Heard {
    pub fn new(config: Config) -> Self {
        let (ends, ended) = mpsc::unbounded_channel();
        let (entries, logged) = mpsc::unbounded_channel();
        let ears = Arc::new(Ears { ends, entries });
        Self {
            lanes: Lanes::new(
                config,
                WaitingTopics {
                    tiers: &[TIER],
                    overflow_partitions: 4,
                    row_order_partitions: 4,
                    row_order_bytes: 1 << 20,
                },
                ears,
            )
            .unwrap(),
            book: Arc::default(),
            ended,
            logged,
        }
    }

    /// Sends one call to the target.
    pub async fn offer(&self, target: &Arc<Target>, n: u32) {
        self.lanes.send(call(target, n, &self.book)).await;
    }

    /// Sends these calls to the target, one after the other.
    pub async fn offer_all(&self, target: &Arc<Target>, numbers: Range<u32>) {
        for n in numbers {
            self.offer(target, n).await;
        }
    }

    /// Awaits the next end of a call.
    pub async fn end(&mut self) -> End {
        self.ended.recv().await.unwrap()
    }

    /// Awaits the next entry of the message log.
    pub async fn entry(&mut self) -> LogEntry {
        self.logged.recv().await.unwrap()
    }

    /// Awaits the next end, which must be a delivery. Returns the number of its attempts.
    pub async fn delivered(&mut self) -> u32 {
        let end = self.end().await;
        assert_eq!(end.outcome, Some(Outcome::Delivered));
        end.attempts
    }

    /// Awaits the next end, which must be a call that waits in a topic.
    pub async fn waits(&mut self) -> End {
        let end = self.end().await;
        assert_eq!(end.outcome, None, "call {}", end.n);
        end
    }

    /// Awaits the next end, which must be of an exhausted call. Returns its class and the number of its attempts.
    pub async fn exhausted(&mut self) -> (&'static str, u32) {
        let end = self.end().await;
        match end.outcome {
            Some(Outcome::Exhausted { cause }) => (cause.class, end.attempts),
            other => panic!("{other:?}"),
        }
    }
}

/// Max number of these requests signed in the same second of the clock. The time of arrival depends on the machine
/// too.
pub fn most_in_a_second(requests: &[receiver::Heard]) -> usize {
    let signed = |request: &receiver::Heard| request.head.headers["webhook-timestamp"].clone();
    let in_second = |second| requests.iter().filter(|other| signed(other) == second).count();
    requests.iter().map(|request| in_second(signed(request))).max().unwrap_or(0)
}
