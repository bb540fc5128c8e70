//! Reads a topic of one partition, such as the definitions topic, as a log: to its end, then newer records.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message, Timestamp};

use super::state::StoreState;
use super::{Config, StoreError};
use crate::definition::Definitions;
use crate::kafka::errors::{self, ClientErrors};
use crate::kafka::reader_settings;

/// The only partition of the topic.
pub(super) const PARTITION: i32 = 0;
/// Max time for a broker to answer a metadata request.
const ANSWER: Duration = Duration::from_secs(10);
/// Records that the client fetches ahead. When it has fetched them it pauses fetching, by default for a second. With
/// that default, pauses would take most of the time that reading many definitions takes.
const AHEAD: &str = "20000";
const LOOK_AWAY_MS: &str = "5";
/// Max time without a record while reading to the end.
const STALL: Duration = Duration::from_secs(30);
/// Why a committed record may not be readable.
const NO_MARKER: &str = "a transaction was committed, but its marker is not in the log";

/// Reader of the log. Returns only committed records. Joins no consumer group.
pub struct DefinitionsLog {
    consumer: BaseConsumer<LogContext>,
    topic: String,
    brokers: String,
    /// Offset after the last record that was read.
    next: i64,
    /// Offset and timestamp of the last record that was read.
    last: Option<(i64, Timestamp)>,
    /// The last record is being read again, to check that it is still there.
    looking_back: bool,
    /// The end has been reached since the partition was last assigned.
    ended: bool,
    /// The topic was reported missing since the last restart.
    missing: bool,
}

/// Next event of the log.
pub enum LogEvent<'l> {
    Record(BorrowedMessage<'l>),
    /// All records that were committed when the broker last answered have been read.
    End,
    /// The topic was recreated or truncated. Records read before are no longer valid; call
    /// [`DefinitionsLog::restart`].
    Remade,
    /// No event within the wait.
    Nothing,
    /// An error. The client retries automatically, without a limit.
    Trouble(KafkaError),
}

/// Collects the client's errors without logging them: polls return them too, and they are reported once there.
#[derive(Default)]
pub(super) struct LogContext(ClientErrors);

impl ClientContext for LogContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for LogContext {}

impl DefinitionsLog {
    /// Opens the log. Does not wait for a broker. `wait` is the max time that a broker may hold a request open at the
    /// end of the log.
    pub fn open(
        config: &Config,
        kafka: &HashMap<String, String>,
        wait: Duration,
    ) -> Result<DefinitionsLog, StoreError> {
        let topic = config.topic.clone();
        let client = Self::settings(&topic, kafka, wait);
        let brokers = client.get("bootstrap.servers").unwrap_or_default().to_owned();
        let consumer = client
            .create_with_context::<_, BaseConsumer<LogContext>>(LogContext::default())
            .map_err(|source| StoreError::Client { topic: topic.clone(), source: source.into() })?;
        Ok(DefinitionsLog {
            consumer,
            topic,
            brokers,
            next: 0,
            last: None,
            looking_back: false,
            ended: false,
            missing: false,
        })
    }

    pub(super) fn settings(topic: &str, kafka: &HashMap<String, String>, wait: Duration) -> ClientConfig {
        let mut client = reader_settings(topic, kafka.clone().into_iter().collect());
        client
            .set("queued.min.messages", AHEAD)
            .set("fetch.queue.backoff.ms", LOOK_AWAY_MS)
            .set("fetch.wait.max.ms", wait.as_millis().to_string());
        client
    }

    /// Reads on after the last record that was read, or from the start if there is none. The next [`LogEvent::End`]
    /// is for an end requested after this call.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.looking_back = false;
        self.assign(if self.next == 0 { Offset::Beginning } else { Offset::Offset(self.next) })
    }

    /// Reads the last record again. If the topic was recreated while the reader was not polling, another record is at
    /// that offset; Kafka's client does not report that. If the end of the log has not moved, it is reported again
    /// too.
    pub fn look_back(&mut self) -> Result<(), StoreError> {
        let Some((offset, _)) = self.last else {
            // Only after the end: restarting a slow reader before its end would keep it from ever reaching the end.
            return if self.ended { self.begin() } else { Ok(()) };
        };
        self.looking_back = true;
        self.assign(Offset::Offset(offset))
    }

    fn assign(&mut self, offset: Offset) -> Result<(), StoreError> {
        self.ended = false;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&self.topic, PARTITION, offset)
            .and_then(|()| self.consumer.assign(&assignment))
            .map_err(|source| StoreError::Client { topic: self.topic.clone(), source: source.into() })
    }

    /// Reads the log from its start again.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        (self.next, self.last, self.missing) = (0, None, false);
        self.begin()
    }

    /// Waits for the next event.
    pub fn next(&mut self, wait: Duration) -> LogEvent<'_> {
        match self.consumer.poll(wait) {
            None => LogEvent::Nothing,
            Some(Ok(record)) if self.looking_back => {
                self.looking_back = false;
                let same = self.last == Some((record.offset(), record.timestamp()));
                if same { LogEvent::Nothing } else { LogEvent::Remade }
            }
            Some(Err(KafkaError::PartitionEOF(_))) if self.looking_back => LogEvent::Remade,
            // Kafka's client returns to the start automatically when its offset no longer exists in the log. If the
            // new log is longer, the offset exists, but the topic was reported missing for a moment.
            Some(Ok(record)) if self.missing || record.offset() < self.next => LogEvent::Remade,
            Some(Err(KafkaError::PartitionEOF(_))) if self.missing => LogEvent::Remade,
            Some(Ok(record)) => {
                self.next = record.offset() + 1;
                self.last = Some((record.offset(), record.timestamp()));
                LogEvent::Record(record)
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.ended = true;
                LogEvent::End
            }
            Some(Err(error)) if errors::is_of_the_group(&error) => LogEvent::Nothing,
            Some(Err(error)) => {
                self.missing |= errors::is_missing_topic(&error);
                LogEvent::Trouble(error)
            }
        }
    }

    /// Checks that the topic exists and has one partition.
    pub fn check(&self) -> Result<(), StoreError> {
        let topic = || self.topic.clone();
        let serve = || while self.consumer.poll(Duration::ZERO).is_some() {};
        let troubles = &self.consumer.context().0;
        let metadata = errors::metadata(self.consumer.client(), Some(&self.topic), ANSWER, troubles, serve)
            .map_err(|reason| StoreError::Unreachable { topic: topic(), brokers: self.brokers.clone(), reason })?;
        let found = metadata.topics().iter().find(|found| found.name() == self.topic);
        match found.map_or(0, |found| found.partitions().len()) {
            0 => Err(StoreError::NoTopic { topic: topic() }),
            1 => Ok(()),
            partitions => Err(StoreError::Partitions { topic: topic(), partitions }),
        }
    }

    /// Reads from the offset of the state to the end of the log, as of this call or later.
    pub(super) fn read_to_end(&mut self, state: &StoreState) -> Result<(), StoreError> {
        self.read_past(i64::MIN, state)
    }

    /// Like `read_to_end`, but continues until the record committed at offset `committed`, or a later one, has been
    /// read. A broker acknowledges a commit before its marker is in the log. Until then the log seems to end before
    /// the record.
    pub(super) fn read_past(&mut self, committed: i64, state: &StoreState) -> Result<(), StoreError> {
        self.next = state.next();
        let mut is_remade = false;
        self.begin()?;
        let mut trouble = "the broker did not answer".to_owned();
        let mut last = Instant::now();
        while last.elapsed() < STALL {
            match self.next(Duration::from_millis(100)) {
                LogEvent::Record(record) => {
                    state.take(&record);
                    last = Instant::now();
                }
                // A record committed to the deleted topic never arrives.
                LogEvent::End if state.next() <= committed && !is_remade => trouble = NO_MARKER.to_owned(),
                LogEvent::End => {
                    state.at_end();
                    return Ok(());
                }
                LogEvent::Remade => {
                    is_remade = true;
                    state.restart();
                    self.restart()?;
                }
                LogEvent::Nothing => {}
                LogEvent::Trouble(error) if errors::is_denied(&error) => {
                    return Err(StoreError::Denied { topic: self.topic.clone(), reason: errors::told(&error) });
                }
                LogEvent::Trouble(error) => trouble = error.to_string(),
            }
        }
        Err(StoreError::Stalled { topic: self.topic.clone(), seconds: STALL.as_secs(), trouble })
    }
}

/// Reads all current definitions.
///
/// # Errors
/// The topic is missing or has several partitions, the broker can't be reached, or a secret can't be opened.
pub async fn read(config: &Config, kafka: &HashMap<String, String>) -> Result<Definitions, StoreError> {
    Ok(read_with_end(config, kafka).await?.0)
}

/// Like [`read`], and also returns the offset after the last record. An instance that has applied the log up to it
/// knows all of these definitions.
///
/// # Errors
/// As [`read`].
pub async fn read_with_end(config: &Config, kafka: &HashMap<String, String>) -> Result<(Definitions, i64), StoreError> {
    let state = to_end(config, kafka).await?;
    state.whole()?;
    let end = state.next();
    Ok((state.into_definitions(), end))
}

/// Returns the offset after the last definition record written so far. An instance that has applied the log up to it
/// knows all of them. Needs no secret keys.
///
/// # Errors
/// The topic is missing or has several partitions, or the broker can't be reached.
pub async fn end(config: &Config, kafka: &HashMap<String, String>) -> Result<i64, StoreError> {
    Ok(to_end(config, kafka).await?.next())
}

async fn to_end(config: &Config, kafka: &HashMap<String, String>) -> Result<StoreState, StoreError> {
    let mut log = DefinitionsLog::open(config, kafka, AT_END)?;
    let state = StoreState::new(&config.topic, &config.secret_keys, None);
    let reading = tokio::task::spawn_blocking(move || {
        log.check()?;
        log.read_to_end(&state)?;
        Ok(state)
    });
    reading.await.expect("reading the definitions does not panic")
}

/// Max time that a broker may hold a request open at the end of the log, for readers that only need the end: the
/// broker reports the end only with its answer.
pub(super) const AT_END: Duration = Duration::from_millis(10);
