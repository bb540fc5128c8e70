//! Commands' access to the stats topic: reads endpoint reports and the catalogue, and writes retry orders.

use std::collections::HashMap;
use std::time::Duration;

use super::Config;
use crate::catalogue::{self, Catalogue};
use crate::endpoints::{EndpointsReport, Group, REPORT_PREFIX, RetryOrder, SILENT_MS, Unwritten};
use crate::kafka::producer::{self, AwaitedProducer, Headers, NewRecord};
use crate::kafka::topic_reader::{self, Bounds, Range, TopicReader};
use crate::kafka::{KafkaError, TopicError};

/// Limits for reading the reports: number, bytes and time.
const READ: Bounds = Bounds { found: 10_000, bytes: 256 * 1024 * 1024, time: Duration::from_secs(10) };
/// Limits for reading the tables, which are scattered over the whole topic.
const READ_ALL: Bounds = Bounds { found: 200_000, bytes: 1024 * 1024 * 1024, time: Duration::from_secs(30) };
/// Max time to write an order, in milliseconds.
const WRITE_MS: &str = "10000";

/// Why the tables and fields seen in the stream can't be read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    #[error(transparent)]
    TopicReader(#[from] topic_reader::Error),
    #[error("topic {topic} could not be read to its start within {:?} and {} bytes", READ_ALL.time, READ_ALL.bytes)]
    Long { topic: String },
}

/// Reads the state of endpoints from the last report of each instance. `now_ms` is milliseconds since 1970.
///
/// # Errors
/// The topic can't be read.
pub async fn endpoints(
    config: &Config,
    kafka: &HashMap<String, String>,
    now_ms: i64,
) -> Result<Group, topic_reader::Error> {
    let journal = TopicReader::new(&config.topic, kafka.clone().into_iter().collect());
    let range = Range { since_ms: Some(now_ms - SILENT_MS), ..Range::default() };
    let page = journal.page(None, range, READ, |record| {
        let key = std::str::from_utf8(record.key?).ok()?.strip_prefix(REPORT_PREFIX)?;
        // A report that a newer version wrote in another form is skipped.
        Some((key.to_owned(), EndpointsReport::read(record.value?).ok()?))
    });
    let mut group = Group::default();
    page.await?.found.into_iter().for_each(|(run, report)| group.learn_report(&run, report));
    Ok(group)
}

/// Reads the tables and fields seen in the stream, as written by all instances. Returns an empty catalogue if the
/// topic does not exist yet.
///
/// # Errors
/// The topic can't be read, or not to its start.
pub async fn catalogue(config: &Config, kafka: &HashMap<String, String>) -> Result<Catalogue, NotRead> {
    let journal = TopicReader::new(&config.topic, kafka.clone().into_iter().collect());
    let page = journal.page(None, Range::default(), READ_ALL, |record| {
        let key = std::str::from_utf8(record.key?).ok()?.strip_prefix(catalogue::PREFIX)?;
        Some((key.to_owned(), record.value?.to_owned()))
    });
    let page = match page.await {
        Ok(page) => page,
        Err(topic_reader::Error::Topic(TopicError::NoTopic { .. })) => return Ok(Catalogue::default()),
        Err(error) => return Err(error.into()),
    };
    if page.next.is_some() {
        return Err(NotRead::Long { topic: config.topic.clone() });
    }
    let catalogue = Catalogue::default();
    for (key, value) in page.found {
        // A record that a newer version wrote in another form is skipped.
        let _ = catalogue.learn(&key, &value);
    }
    Ok(catalogue)
}

/// Orders that the waiting calls of these lines are retried now. Every instance reads the orders within about a
/// second. Resolves when the topic has all orders.
///
/// # Errors
/// The topic does not accept one of them.
pub async fn retry_now(
    config: &Config,
    kafka: &HashMap<String, String>,
    orders: &[RetryOrder],
) -> Result<(), KafkaError> {
    let settings = producer::settings(&kafka.clone().into_iter().collect(), WRITE_MS);
    let records: Vec<NewRecord> = orders
        .iter()
        .map(|order| {
            let Unwritten { key, value } = order.record();
            NewRecord { key: Some(key.into()), value: Some(value.into()), headers: Headers::default() }
        })
        .collect();
    AwaitedProducer::new(&settings)?.write_all(&config.topic, &records).await.into_iter().collect()
}
