//! Commands' access to the stats topic: reads endpoint reports and the catalogue, and writes retry orders.

use std::collections::HashMap;
use std::time::Duration;

use super::Config;
use crate::catalogue::{self, Catalogue};
use crate::endpoints::{EndpointsReport, GroupStatus, MAX_REPORT_AGE_MS, REPORT_PREFIX, RetryOrder, StatsTopicRecord};
use crate::kafka::producer::{self, AwaitedProducer, Headers, NewRecord};
use crate::kafka::topic_reader::{self, PageLimits, Range, TopicReader};
use crate::kafka::{KafkaError, TopicError};

/// Limits for reading the reports: number, bytes and time.
const REPORT_LIMITS: PageLimits =
    PageLimits { max_found: 10_000, max_bytes: 256 * 1024 * 1024, max_time: Duration::from_secs(10) };
/// Limits for reading the tables, which are scattered over the whole topic.
const CATALOGUE_LIMITS: PageLimits =
    PageLimits { max_found: 200_000, max_bytes: 1024 * 1024 * 1024, max_time: Duration::from_secs(30) };
/// Max time to write an order, in milliseconds.
const WRITE_TIMEOUT_MS: &str = "10000";

/// Why the tables and fields seen in the stream can't be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueReadError {
    #[error(transparent)]
    TopicReader(#[from] topic_reader::Error),
    #[error("topic {topic} could not be read to its start within {:?} and {} bytes", CATALOGUE_LIMITS.max_time, CATALOGUE_LIMITS.max_bytes)]
    Long { topic: String },
}

/// Reads the state of endpoints from the last report of each instance. `now_ms` is milliseconds since 1970.
///
/// # Errors
/// The topic can't be read.
pub async fn read_endpoints(
    config: &Config,
    kafka: &HashMap<String, String>,
    now_ms: i64,
) -> Result<GroupStatus, topic_reader::Error> {
    let topic_reader = TopicReader::new(&config.topic, kafka.clone().into_iter().collect());
    let range = Range { since_ms: Some(now_ms - MAX_REPORT_AGE_MS), ..Range::default() };
    let page = topic_reader.page(None, range, REPORT_LIMITS, |record| {
        let key = std::str::from_utf8(record.key?).ok()?.strip_prefix(REPORT_PREFIX)?;
        // A report that a newer version wrote in another form is skipped.
        Some((key.to_owned(), EndpointsReport::read(record.value?).ok()?))
    });
    let mut group = GroupStatus::default();
    page.await?.found.into_iter().for_each(|(run, report)| group.apply_report(&run, report));
    Ok(group)
}

/// Reads the tables and fields seen in the stream, as written by all instances. Returns an empty catalogue if the
/// topic does not exist yet.
///
/// # Errors
/// The topic can't be read, or not to its start.
pub async fn catalogue(config: &Config, kafka: &HashMap<String, String>) -> Result<Catalogue, CatalogueReadError> {
    let topic_reader = TopicReader::new(&config.topic, kafka.clone().into_iter().collect());
    let page = topic_reader.page(None, Range::default(), CATALOGUE_LIMITS, |record| {
        let key = std::str::from_utf8(record.key?).ok()?.strip_prefix(catalogue::TABLE_PREFIX)?;
        Some((key.to_owned(), record.value?.to_owned()))
    });
    let page = match page.await {
        Ok(page) => page,
        Err(topic_reader::Error::Topic(TopicError::NoTopic { .. })) => return Ok(Catalogue::default()),
        Err(error) => return Err(error.into()),
    };
    if page.next_cursor.is_some() {
        return Err(CatalogueReadError::Long { topic: config.topic.clone() });
    }
    let catalogue = Catalogue::default();
    for (key, value) in page.found {
        // A record that a newer version wrote in another form is skipped.
        let _ = catalogue.merge_record(&key, &value);
    }
    Ok(catalogue)
}

/// Orders that the waiting calls of these lines are retried now. Every instance reads the orders within about a
/// second. Resolves when the topic has all orders.
///
/// # Errors
/// The topic does not accept one of them.
pub async fn write_retry_orders(
    config: &Config,
    kafka: &HashMap<String, String>,
    orders: &[RetryOrder],
) -> Result<(), KafkaError> {
    let settings = producer::settings(&kafka.clone().into_iter().collect(), WRITE_TIMEOUT_MS);
    let records: Vec<NewRecord> = orders
        .iter()
        .map(|order| {
            let StatsTopicRecord { key, value } = order.record();
            NewRecord { key: Some(key.into()), value: Some(value.into()), headers: Headers::default() }
        })
        .collect();
    AwaitedProducer::new(&settings)?.write_all(&config.topic, &records).await.into_iter().collect()
}
