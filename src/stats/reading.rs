//! What commands read in the stats topic, and write to it.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::Config;
use crate::catalogue::{self, Catalogue};
use crate::endpoints::{EndpointsReport, Group, REPORT_PREFIX, RetryOrder, SILENT_MS, Unwritten};
use crate::kafka::topic_reader::{self, Bounds, Range, TopicReader};

/// How long reading the reports may take, how many there are at most, and their bytes.
const READ: Bounds = Bounds { found: 10_000, bytes: 256 * 1024 * 1024, time: Duration::from_secs(10) };
/// The same for the tables, which are scattered over the whole topic.
const READ_ALL: Bounds = Bounds { found: 200_000, bytes: 1024 * 1024 * 1024, time: Duration::from_secs(30) };
/// How long an order may take to be written, in milliseconds.
const WRITE_MS: &str = "10000";

/// Why it is not known which tables and fields the stream has shown.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    #[error(transparent)]
    TopicReader(#[from] topic_reader::Error),
    #[error("topic {topic} could not be read to its start within {:?} and {} bytes", READ_ALL.time, READ_ALL.bytes)]
    Long { topic: String },
}

/// How endpoints stand, as all instances have last reported. `now_ms` is milliseconds since 1970.
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
        // One that a newer version wrote otherwise says nothing to this one.
        Some((key.to_owned(), EndpointsReport::read(record.value?).ok()?))
    });
    let mut group = Group::default();
    page.await?.found.into_iter().for_each(|(run, report)| group.learn_report(&run, report));
    Ok(group)
}

/// The tables and fields that the stream has shown, as all instances have written down: none if there is no topic yet.
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
        Err(topic_reader::Error::NoTopic { .. }) => return Ok(Catalogue::default()),
        Err(error) => return Err(error.into()),
    };
    if page.next.is_some() {
        return Err(NotRead::Long { topic: config.topic.clone() });
    }
    let catalogue = Catalogue::default();
    for (key, value) in page.found {
        // A record that a newer version wrote otherwise says nothing to this one.
        let _ = catalogue.learn(&key, &value);
    }
    Ok(catalogue)
}

/// Has the waiting calls of these lines retried now, as every instance reads within about a second. Resolves when the
/// topic has all orders.
///
/// # Errors
/// The topic does not take one of them.
pub async fn retry_now(
    config: &Config,
    kafka: &HashMap<String, String>,
    orders: &[RetryOrder],
) -> Result<(), KafkaError> {
    let mut client: ClientConfig = kafka.clone().into_iter().collect();
    let producer: FutureProducer = client.set("acks", "all").set("message.timeout.ms", WRITE_MS).create()?;
    let writes = orders.iter().map(|order| {
        let Unwritten { key, value } = order.record();
        let record = FutureRecord::to(&config.topic).partition(0).key(&key).payload(&value);
        producer.send_result(record).map_err(|(error, _)| error)
    });
    // All are on their way before the first is waited for.
    for write in writes.collect::<Result<Vec<_>, _>>()? {
        write.await.map_err(|_| KafkaError::Canceled)?.map_err(|(error, _)| error)?;
    }
    Ok(())
}
