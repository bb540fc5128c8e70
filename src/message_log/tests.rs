//! Entries written and read back, and the log on librdkafka's mock cluster.

use std::collections::HashMap;

use proptest::prelude::*;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use uuid::Uuid;

use super::*;
use crate::id::{CallId, MessageId, RecordPosition};
use crate::kafka::topic_reader::{PageLimits, Record};

const WHOLE: &str = concat!(
    r#"{"at":"2026-11-24T15:00:00.123Z","account":"acme","webhook":"abc123","event":"def456","#,
    r#""message":"00000000-0000-0000-0000-000000000007","call":"00000000-0000-0000-0000-000000000008","version":3,"#,
    r#""url":"https://example.com/hook","status":"WillRetry","next":"2026-11-24T15:00:05Z","attempts":2,"#,
    r#""class":"status_5xx","cause":"https://example.com answered 503 Service Unavailable","#,
    r#""attempt":{"address":"192.0.2.1:443","code":503,"latency_ms":12.5,"request_bytes":321,"#,
    r#""response":"try later"},"source":{"topic":"changes","partition":1,"offset":9}}"#
);

fn entry(message: u128) -> LogEntry {
    LogEntry {
        at: "2026-11-24T15:00:00.123Z".parse().unwrap(),
        account: "acme".into(),
        webhook: "abc123".parse().unwrap(),
        event: "def456".parse().unwrap(),
        message: MessageId(Uuid::from_u128(message)),
        call: Some(CallId(Uuid::from_u128(8))),
        version: Some(3),
        url: Some("https://example.com/hook".into()),
        status: CallStatus::WillRetry,
        next: Some("2026-11-24T15:00:05Z".parse().unwrap()),
        attempts: 2,
        class: Some("status_5xx".into()),
        cause: Some("https://example.com answered 503 Service Unavailable".into()),
        attempt: Some(Attempt {
            address: Some("192.0.2.1:443".parse().unwrap()),
            code: Some(503),
            latency_ms: 12.5,
            request_bytes: 321,
            response: Some("try later".to_owned()),
        }),
        source: RecordPosition { topic: "changes".into(), partition: 1, offset: 9 },
    }
}

fn read(value: &[u8]) -> Option<LogEntry> {
    let headers = Vec::new();
    LogEntry::read(&Record { partition: 0, offset: 0, timestamp_ms: 0, key: None, value: Some(value), headers })
}

/// The text is stored in topics, so it must not change.
#[test]
fn entry_is_compact_json_and_round_trips() {
    assert_eq!(String::from_utf8(entry(7).value()).unwrap(), WHOLE);
    assert_eq!(read(WHOLE.as_bytes()), Some(entry(7)));
    let bare = LogEntry {
        call: None,
        version: None,
        url: None,
        next: None,
        class: None,
        cause: None,
        attempt: None,
        status: CallStatus::Cancelled,
        ..entry(7)
    };
    assert!(!String::from_utf8(bare.value()).unwrap().contains("null"));
    assert_eq!(read(&bare.value()), Some(bare));
    assert_eq!(read(&WHOLE.replace("\"version\":3,", "\"new\":[1],").into_bytes()).unwrap().version, None);
}

#[test]
fn filter_matches_only_if_all_its_conditions_hold() {
    let all = EntryFilter {
        event: "def456".parse().ok(),
        message: Some(MessageId(Uuid::from_u128(7))),
        statuses: vec![CallStatus::Exhausted, CallStatus::WillRetry],
        since: "2026-11-24T15:00:00.123Z".parse().ok(),
        until: "2026-11-24T15:00:00.124Z".parse().ok(),
        ..EntryFilter::of("acme".into(), "abc123".parse().unwrap())
    };
    assert!(all.matches(&entry(7)));
    for other in [
        EntryFilter { account: Some("zoo".into()), ..all.clone() },
        EntryFilter { webhook: "abc124".parse().ok(), ..all.clone() },
        EntryFilter { event: "def457".parse().ok(), ..all.clone() },
        EntryFilter { message: Some(MessageId(Uuid::from_u128(8))), ..all.clone() },
        EntryFilter { statuses: vec![CallStatus::Delivered], ..all.clone() },
        EntryFilter { since: all.until, ..all.clone() },
        EntryFilter { until: all.since, ..all.clone() },
    ] {
        assert!(!other.matches(&entry(7)), "{other:?}");
    }
}

#[test]
fn newest_entry_of_a_call_is_kept_even_if_written_first() {
    let at = |second: i64, call: u128, attempts| LogEntry {
        at: jiff::Timestamp::from_second(second).unwrap(),
        call: Some(CallId(Uuid::from_u128(call))),
        attempts,
        ..entry(7)
    };
    let newest = newest_per_call(vec![at(3, 1, 2), at(2, 2, 1), at(9, 1, 3), at(1, 1, 1)]);
    assert_eq!(newest, [at(9, 1, 3), at(2, 2, 1)]);
}

#[test]
fn level_selects_the_attempts_that_have_an_entry() {
    let attempts = [
        (CallStatus::Delivered, 1),
        (CallStatus::Delivered, 2),
        (CallStatus::WillRetry, 1),
        (CallStatus::Cancelled, 0),
    ];
    for (level, expected) in [
        (MessageLogLevel::All, [true; 4]),
        (MessageLogLevel::Failures, [false, true, true, true]),
        (MessageLogLevel::Off, [false; 4]),
    ] {
        let writer = LogWriter::new(&Config { level, ..Config::default() }, &ClientConfig::new()).unwrap();
        assert_eq!(
            attempts.map(|(status, made)| writer.wanted_response_bytes(status, made) == Some(512)),
            expected,
            "{level:?}"
        );
    }
}

#[tokio::test]
async fn all_entries_of_a_message_share_one_partition() {
    let (cluster, config) = (MockCluster::new(1).unwrap(), Config::default());
    cluster.create_topic(&config.topic, 5, 1).unwrap();
    let client = HashMap::from([("bootstrap.servers".to_owned(), cluster.bootstrap_servers())]);
    let writer = LogWriter::new(&config, &client.clone().into_iter().collect()).unwrap();
    for message in 0..20 {
        writer.write(&entry(message));
    }
    writer.flush(std::time::Duration::from_secs(20)).await;

    let log = MessageLogReader::new(&config, &client);
    let bounds = PageLimits { max_found: 100, max_bytes: u64::MAX, max_time: std::time::Duration::from_secs(20) };
    let webhook = "abc123".parse().unwrap();
    let all = log.page(EntryFilter::of("acme".into(), webhook), None, bounds).await.unwrap();
    assert_eq!((all.found.len(), all.next_cursor), (20, None));
    let message = MessageId(Uuid::from_u128(13));
    let one = log
        .page(EntryFilter { message: Some(message), ..EntryFilter::of("acme".into(), webhook) }, None, bounds)
        .await
        .unwrap();
    assert_eq!((one.found, one.scanned), (vec![entry(13)], 4));

    let found = log.find(&"acme".into(), webhook, message).await.unwrap();
    assert_eq!(found, Some(MessageOrigin { event: "def456".parse().unwrap(), source_position: entry(13).source }));
    assert_eq!(log.find(&"zoo".into(), webhook, message).await.unwrap(), None);
}

#[tokio::test]
async fn log_writer_neither_blocks_nor_grows_when_kafka_is_unreachable() {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", "127.0.0.1:9").set("log_level", "0");
    let writer = LogWriter::new(&Config::default(), &client).unwrap();
    let started = std::time::Instant::now();
    for message in 0..60_000 {
        writer.write(&entry(message));
    }
    // Faster than the write timeout of the first entry: no entry has made room for another.
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    let queued = writer.queued();
    assert!((10_000..=50_000).contains(&queued), "{queued}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_make_the_reader_panic(value: Vec<u8>, cut in 0..WHOLE.len(), instead: u8) {
        let _ = read(&value);
        let mut nearly = WHOLE.as_bytes().to_vec();
        nearly[cut] = instead;
        let _ = read(&nearly);
        prop_assert!(read(&WHOLE.as_bytes()[..cut]).is_none());
    }
}
