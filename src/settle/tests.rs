//! Writes of dead letters and waiting calls to librdkafka's mock cluster, read back with a consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::dead_letters::{DeadLetterFilter, DeadLetterKind, DeadLetterReader};
use crate::decode::{DecodeError, EventDate, Sequence};
use crate::definition::{Endpoint, Secret};
use crate::deliver::{FailureCause, WriteCount};
use crate::id::{CallId, MessageId, RecordPosition, RowKey};
use crate::kafka::topic_reader::PageLimits;
use crate::receipt::{Budget, ReceiptTracker};
use crate::render::Message;
use crate::rules::{EventState, Target};

mod in_order;
mod many_calls;
mod redrive;

#[derive(Default)]
struct CountingBook {
    shares: AtomicUsize,
    settled: AtomicUsize,
    abandoned: AtomicUsize,
}

impl ReceiptTracker for CountingBook {
    fn is_revoked(&self) -> bool {
        false
    }

    fn add_share(&self, _: u64) {
        self.shares.fetch_add(1, Ordering::SeqCst);
    }

    fn settle_share(&self, _: u64) {
        self.settled.fetch_add(1, Ordering::SeqCst);
    }

    fn abandon_share(&self, _: u64) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }

    fn put_back(&self, _: u64) {
        unreachable!("a written record waits nowhere else");
    }

    fn is_draining(&self) -> bool {
        false
    }
}

impl CountingBook {
    /// Shares added, settled, abandoned. A ledger entry opens with one share that is not added.
    fn counts(&self) -> [usize; 3] {
        [&self.shares, &self.settled, &self.abandoned].map(|count| count.load(Ordering::SeqCst))
    }
}

struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    settle: Arc<Settler>,
    book: Arc<CountingBook>,
    budget: Arc<Budget>,
}

impl Bench {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let config = DeadLettersConfig::default();
        cluster.create_topic(&config.topic, 1, 1).unwrap();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        // The mock's connection refusals are expected here.
        client.set("log_level", "0");
        let retries = RetriesConfig::default();
        for tier in retries.tiers().iter() {
            cluster.create_topic(&tier.topic, 1, 1).unwrap();
        }
        let row_order = RowOrderConfig::default();
        cluster.create_topic(&row_order.topic, 2, 1).unwrap();
        let (overflow, operator_events) = (OverflowConfig::default(), OperatorEventsConfig::default());
        let sections = Sections {
            dead_letters: &config,
            retry_writer: &retries,
            overflow: &overflow,
            row_order: &row_order,
            operator_events: &operator_events,
        };
        let nothing =
            message_log::Config { level: message_log::MessageLogLevel::Off, ..message_log::Config::default() };
        let log = message_log::LogWriter::new(&nothing, &client).unwrap();
        let settle = Settler::new(sections, &client, Arc::default(), Box::new(|_, _, _| ()), log).unwrap();
        Self { cluster, settle, book: Arc::default(), budget: Budget::new(1 << 20) }
    }

    fn receipt(&self) -> Receipt {
        Receipt::open(self.book.clone(), 0, self.budget.clone())
    }

    fn call(&self) -> Call {
        let target = Target {
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
            order: crate::definition::MessageOrder::None,
            endpoints: [Arc::new(Endpoint::parse("https://example.com/hook?token=1").unwrap())].into(),
            is_gone: false.into(),
        };
        let message = Message {
            id: MessageId(uuid::Uuid::from_u128(1)),
            call_id: CallId(uuid::Uuid::from_u128(2)),
            event: "def456".parse().unwrap(),
            target: Arc::new(target),
            event_state: EventState::default(),
            endpoint: 0,
            event_date: EventDate { at: "2026-01-02T03:04:05Z".parse().unwrap(), fraction_digits: 0 },
            sequence: Sequence::Offset { partition: 3, offset: 9 },
            body: Bytes::from_static(b"{}"),
        };
        Call {
            message,
            source_position: RecordPosition { topic: "changes".into(), partition: 3, offset: 9 },
            appended_ms: 0,
            receipt: self.receipt(),
            attempts: 5,
            deferrals: 0,
            first_due_ms: 1_767_323_046_000,
            write_count: WriteCount::FIRST,
            row_key: None,
            from_overflow: false,
        }
    }

    /// Makes the broker refuse the next requests for their size. A record is written alone the second time, since the
    /// first refusal may be that of its batch.
    fn refuse_for_size(&self, times: usize) {
        let refusals = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; times];
        self.cluster.request_errors(RDKafkaApiKey::Produce, &refusals);
    }

    async fn next_dead_letter(&self) -> OwnedMessage {
        self.first_in("outhook.dead-letters").await
    }

    async fn first_in(&self, topic: &str) -> OwnedMessage {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            // A separate group: the mock keeps members that have left until their session ends.
            .set("group.id", topic)
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&[topic]).unwrap();
        consumer.recv().await.unwrap().detach()
    }
}

fn exhausted() -> Outcome {
    let text = "https://example.com answered 500 Internal Server Error".to_owned();
    Outcome::Exhausted { cause: FailureCause { class: "status_5xx", status: Some(500), text } }
}

fn headers(record: &OwnedMessage) -> BTreeMap<String, String> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    record.headers().unwrap().iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

#[tokio::test]
async fn delivered_and_cancelled_calls_settle_immediately() {
    let bench = Bench::new();
    bench.settle.finish(bench.call(), Outcome::Delivered);
    bench.settle.finish(bench.call(), Outcome::Cancelled);
    assert_eq!(bench.book.counts(), [0, 2, 0]);
    bench.settle.wait_until_drained().await;
}

#[tokio::test]
async fn exhausted_call_becomes_a_dead_letter_with_all_that_a_redrive_needs() {
    let bench = Bench::new();
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 1, 0]);

    let record = bench.next_dead_letter().await;
    assert_eq!((record.key(), record.payload()), (Some(&b"abc123"[..]), Some(&b"{}"[..])));
    let mut headers = headers(&record);
    for time in ["outhook-offered", "outhook-ended"] {
        headers.remove(time).unwrap().parse::<Timestamp>().unwrap();
    }
    let expected = [
        ("outhook-account", "acme"),
        ("outhook-appended-ms", "0"),
        ("outhook-attempts", "5"),
        ("outhook-call", "00000000-0000-0000-0000-000000000002"),
        ("outhook-cause", "https://example.com answered 500 Internal Server Error"),
        ("outhook-class", "status_5xx"),
        ("outhook-deferrals", "0"),
        ("outhook-endpoint", "0/1"),
        ("outhook-event", "def456"),
        ("outhook-event-date", "2026-01-02T03:04:05Z"),
        ("outhook-kind", "call"),
        ("outhook-message", "00000000-0000-0000-0000-000000000001"),
        ("outhook-offset", "9"),
        ("outhook-partition", "3"),
        ("outhook-sequence", "00000003-0000000000000009"),
        ("outhook-status", "500"),
        ("outhook-topic", "changes"),
        ("outhook-url", "https://example.com/hook?token=1"),
        ("outhook-webhook", "abc123"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn waiting_call_settles_after_it_is_written_to_its_retry_topic() {
    let bench = Bench::new();
    let cause = FailureCause { class: "timeout", status: None, text: "no answer".to_owned() };
    let before = Timestamp::now().as_millisecond();
    bench.settle.write_retry(bench.call(), Duration::from_secs(6), Some(&cause));
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 1, 0]);

    let record = bench.first_in("outhook.retry.5s").await;
    assert_eq!(record.payload(), Some(&b"{}"[..]));
    let header = |name: &str| record.headers().unwrap().iter().find(|header| header.key == name)?.value;
    assert_eq!(
        StoredCall::read(header),
        Ok(StoredCall { write_count: WriteCount::FIRST.next(), ..StoredCall::of(&bench.call()) })
    );
    let until = CallDue::read(header).unwrap();
    assert!((6000..16_000).contains(&(until.due_ms - before)), "{until:?}");
    assert_eq!(header("outhook-cause"), Some(&b"no answer"[..]));
}

#[tokio::test]
async fn an_undecodable_record_is_kept_byte_for_byte_and_charged_to_the_budget() {
    let bench = Bench::new();
    let input = Input {
        topic: "changes",
        partition: 1,
        offset: 42,
        timestamp_ms: 1_767_323_045_900,
        key: Some(b"\x00\xff"),
        value: Some(b"not { json \xff"),
        headers: &Vec::<(&str, &[u8])>::new(),
    };
    let reason = DecodeError::OtherFormat { format: "outhook", found: "XML" };
    let receipt = bench.receipt();
    bench.settle.dead_letter_undecodable(&input, &reason, &receipt);
    receipt.settle();
    assert_eq!(bench.budget.used(), 2 + 12 + 2048);
    bench.settle.wait_until_drained().await;
    assert_eq!((bench.book.counts(), bench.budget.used()), ([1, 2, 0], 0));

    let record = bench.next_dead_letter().await;
    assert_eq!((record.key(), record.payload()), (input.key, input.value));
    let headers = headers(&record);
    assert_eq!(headers["outhook-kind"], "record");
    assert_eq!(headers["outhook-class"], "undecodable");
    assert_eq!(headers["outhook-cause"], reason.to_string());
    assert_eq!(headers["outhook-timestamp"], "1767323045900");
    let place = ["topic", "partition", "offset"].map(|name| headers[&format!("outhook-{name}")].as_str());
    assert_eq!(place, ["changes", "1", "42"]);
}

#[tokio::test]
async fn unreadable_offsets_become_a_dead_letter_with_place_and_cause() {
    let bench = Bench::new();
    let place = RecordPosition { topic: "changes".into(), partition: 1, offset: 42 };
    let receipt = bench.receipt();
    bench.settle.dead_letter_unreadable(&place, 44, "Decompression failed; raise the limit", &receipt);
    receipt.settle();
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [1, 2, 0]);

    let record = bench.next_dead_letter().await;
    assert_eq!((record.key(), record.payload()), (None, None));
    let headers = headers(&record);
    let cause = "nothing can be read from this offset to 44: Decompression failed; raise the limit";
    let told = ["kind", "class", "cause", "topic", "partition", "offset", "last-offset"];
    assert_eq!(
        told.map(|name| headers[&format!("outhook-{name}")].as_str()),
        ["record", "unreadable", cause, "changes", "1", "42", "44"]
    );
}

#[tokio::test]
async fn failed_write_is_retried() {
    let bench = Bench::new();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 2];
    bench.cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 1, 0]);
    assert_eq!(bench.next_dead_letter().await.payload(), Some(&b"{}"[..]));
}

#[tokio::test]
async fn record_refused_in_a_batch_is_written_whole_alone() {
    let bench = Bench::new();
    bench.refuse_for_size(1);
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.next_dead_letter().await.payload(), Some(&b"{}"[..]));

    bench.refuse_for_size(1);
    bench.settle.write_retry(bench.call(), Duration::ZERO, None);
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.first_in("outhook.retry.1s").await.payload(), Some(&b"{}"[..]));
}

#[tokio::test]
async fn call_too_large_for_its_retry_topic_becomes_a_redrivable_dead_letter() {
    let bench = Bench::new();
    bench.refuse_for_size(2);
    let cause = FailureCause { class: "timeout", status: None, text: "no answer".to_owned() };
    bench.settle.write_retry(bench.call(), Duration::from_secs(6), Some(&cause));
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 1, 0]);

    let record = bench.next_dead_letter().await;
    assert_eq!((record.key(), record.payload()), (Some(&b"abc123"[..]), Some(&b"{}"[..])));
    let header = |name: &str| record.headers().unwrap().iter().find(|header| header.key == name)?.value;
    assert_eq!(StoredCall::parse_dead_letter(header), Ok(StoredCall::of(&bench.call())));
    let headers = headers(&record);
    assert_eq!((&*headers["outhook-kind"], &*headers["outhook-class"]), ("call", "too_large"));
    let (bytes, cause) = headers["outhook-cause"].split_once(" bytes").unwrap();
    let bytes = bytes.strip_prefix("topic outhook.retry.5s refuses a record of its size, ").unwrap();
    assert!((300..1000).contains(&bytes.parse::<usize>().unwrap()), "{bytes}");
    assert_eq!(cause, ": raise the topic's max.message.bytes, then redrive; its last attempt: no answer");
}

#[tokio::test]
async fn dead_letter_too_large_for_its_topic_omits_its_value() {
    let bench = Bench::new();
    bench.refuse_for_size(2);
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.wait_until_drained().await;
    let record = bench.next_dead_letter().await;
    assert_eq!(record.payload(), None);
    assert_eq!(headers(&record)["outhook-value-left-out"], "2");
}

#[tokio::test]
async fn dead_letter_that_is_still_too_large_also_omits_its_key() {
    let bench = Bench::new();
    bench.refuse_for_size(3);
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.wait_until_drained().await;
    let record = bench.next_dead_letter().await;
    assert_eq!((record.key(), record.payload()), (None, None));
    let headers = headers(&record);
    assert_eq!((headers["outhook-value-left-out"].as_str(), headers["outhook-key-left-out"].as_str()), ("2", "6"));
}

#[tokio::test]
async fn written_dead_letter_is_read_back_whole() {
    let bench = Bench::new();
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.wait_until_drained().await;
    let client = [("bootstrap.servers".to_owned(), bench.cluster.bootstrap_servers())].into();
    let letters = DeadLetterReader::new(&DeadLettersConfig::default(), &client);
    let bounds = PageLimits { max_found: 9, max_bytes: u64::MAX, max_time: Duration::from_secs(30) };
    let of = |webhook: &str| DeadLetterFilter { webhook: webhook.parse().ok(), ..DeadLetterFilter::default() };
    assert!(letters.page(of("zzzzzz"), None, bounds).await.unwrap().found.is_empty());
    let page = letters.page(of("abc123"), None, bounds).await.unwrap();
    let [letter] = page.found.as_slice() else { panic!("one letter was written: {page:?}") };

    let call = bench.call();
    let message = &call.message;
    assert_eq!(
        (letter.kind, letter.class.as_deref(), letter.status),
        (Some(DeadLetterKind::Call), Some("status_5xx"), Some(500))
    );
    assert_eq!(
        (letter.message, letter.call, letter.event),
        (Some(message.id), Some(message.call_id), Some(message.event))
    );
    assert_eq!(letter.account, Some(message.target.account.clone()));
    assert_eq!(letter.url.as_deref(), Some("https://example.com/hook?token=1"));
    assert_eq!((letter.topic.as_deref(), letter.partition, letter.offset), (Some("changes"), Some(3), Some(9)));
    assert_eq!((letter.attempts, letter.event_date.as_deref()), (Some(5), Some("2026-01-02T03:04:05Z")));
    assert_eq!(letter.sequence.as_deref(), Some("00000003-0000000000000009"));
    assert!(letter.cause.is_some() && letter.first_due <= letter.ended_at, "{letter:?}");
    // Kafka's timestamps have milliseconds, the headers more.
    assert!(letter.ended_at.unwrap().as_millisecond() <= letter.written_at.as_millisecond(), "{letter:?}");
    let opened = letters.read_one(letter.id, bounds.max_time).await.unwrap().unwrap();
    assert_eq!((opened.key.as_deref(), opened.value.as_deref()), (Some(&b"abc123"[..]), Some(&b"{}"[..])));
}

#[tokio::test]
async fn writes_continue_with_a_new_producer_after_a_fatal_error() {
    let bench = Bench::new();
    let fatal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
    bench.cluster.request_errors(RDKafkaApiKey::Produce, &fatal);
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 1, 0]);
    assert_eq!(bench.next_dead_letter().await.payload(), Some(&b"{}"[..]));
}

#[tokio::test]
async fn unacknowledged_writes_stay_unsettled_at_a_stop() {
    let bench = Bench::new();
    bench.cluster.broker_down(1).unwrap();
    bench.settle.finish(bench.call(), exhausted());
    bench.settle.stop();
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 0, 1]);
}
