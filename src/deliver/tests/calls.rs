//! Calls for tests, a book that remembers what became of their receipts, and lanes whose outcomes are heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::{Call, Config, Lanes, Outcome};
use crate::decode::{EventDate, Sequence};
use crate::definition::{Endpoint, Secret};
use crate::id::{CallId, MessageId, Place};
use crate::matching::{Live, Target};
use crate::receipt::{Book, Budget, Receipt};
use crate::render::Message;

/// Counts what becomes of receipts.
#[derive(Default)]
pub struct CountingBook {
    settled: AtomicUsize,
    abandoned: AtomicUsize,
}

impl CountingBook {
    pub fn settled(&self) -> usize {
        self.settled.load(Ordering::SeqCst)
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }
}

impl Book for CountingBook {
    fn add_share(&self, _: u64) {}

    fn settle_share(&self, _: u64) {
        self.settled.fetch_add(1, Ordering::SeqCst);
    }

    fn abandon_share(&self, _: u64) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

pub fn target(url: &str) -> Arc<Target> {
    Arc::new(Target {
        webhook: "abc123".parse().unwrap(),
        account: "acme".into(),
        secret: Secret::try_from(SECRET.to_owned()).unwrap(),
        old_secret: None,
        timeout: None,
        retry: None,
        headers: Box::default(),
        authorization: None,
        endpoints: [Arc::new(Endpoint::parse(url).unwrap())].into(),
        gone: false.into(),
    })
}

/// The call with the number n, whose body is its number as JSON.
pub fn call(target: &Arc<Target>, n: u32, book: &Arc<CountingBook>) -> Call {
    let message = Message {
        id: MessageId(uuid::Uuid::from_u128(n.into())),
        call: CallId(uuid::Uuid::from_u128(u128::from(n) << 64)),
        event: "def456".parse().unwrap(),
        target: target.clone(),
        live: Live::default(),
        endpoint: 0,
        event_date: EventDate { at: "2026-01-02T03:04:05.678Z".parse().unwrap(), digits: 3 },
        sequence: Sequence::Offset { partition: 3, offset: n.into() },
        body: Bytes::from(format!("{{\"n\":{n}}}")),
    };
    Call {
        message,
        place: Place { topic: "changes".into(), partition: 3, offset: n.into() },
        appended_ms: 1_767_323_045_900,
        receipt: Receipt::open(book.clone(), n.into(), Budget::new(1 << 20)),
        attempts: 0,
        offered: Instant::now(),
    }
}

/// May dial loopback over http, and retries at once, twice.
pub fn config() -> Config {
    Config {
        allow_http: true,
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
        retry: vec![Duration::ZERO; 2],
        ..Config::default()
    }
}

/// Lanes, with the ends of their calls to be heard; delivered ones settle.
pub struct Heard {
    pub lanes: Arc<Lanes>,
    pub book: Arc<CountingBook>,
    ended: mpsc::UnboundedReceiver<End>,
}

pub struct End {
    pub n: i64,
    pub attempts: u32,
    pub outcome: Outcome,
}

impl Heard {
    pub fn new(config: Config) -> Self {
        let (ends, ended) = mpsc::unbounded_channel();
        let on_finished = Arc::new(move |call: Call, outcome: Outcome| {
            let end = End { n: call.place.offset, attempts: call.attempts, outcome };
            if matches!(end.outcome, Outcome::Delivered) {
                call.receipt.settle();
            }
            let _ = ends.send(end);
        });
        Self { lanes: Lanes::new(config, on_finished).unwrap(), book: Arc::default(), ended }
    }

    /// Offers one call to the URL, which must be taken.
    pub fn offer(&self, target: &Arc<Target>, n: u32) {
        assert!(self.lanes.offer(call(target, n, &self.book)).is_ok(), "call {n} was turned away");
    }

    /// The next end of a call.
    pub async fn end(&mut self) -> End {
        self.ended.recv().await.unwrap()
    }

    /// The next end, which must be a delivery; the number of its attempts.
    pub async fn delivered(&mut self) -> u32 {
        let end = self.end().await;
        assert!(matches!(end.outcome, Outcome::Delivered), "{:?}", end.outcome);
        end.attempts
    }

    /// The class of the next end, which must not be a delivery, and the number of its attempts.
    pub async fn exhausted(&mut self) -> (&'static str, u32) {
        let end = self.end().await;
        match end.outcome {
            Outcome::Exhausted { cause } => (cause.class, end.attempts),
            other => panic!("{other:?}"),
        }
    }
}
