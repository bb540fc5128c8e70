//! A topic of one partition, such as the definitions', as a log that can be read to its end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Message, Timestamp};

use super::state::StoreState;
use super::{Config, StoreError};
use crate::definition::Definitions;
use crate::kafka::errors::{self, ClientErrors};

/// The one partition of the topic.
pub(super) const PARTITION: i32 = 0;
/// How long a broker may take to answer a question about the topic.
const ANSWER: Duration = Duration::from_secs(10);
/// How many records the client reads ahead. When it has them it looks away for a while, by default for a second;
/// that would be most of the time that reading many definitions takes.
const AHEAD: &str = "20000";
const LOOK_AWAY_MS: &str = "5";
/// How long reading to the end may go on without anything coming.
const STALL: Duration = Duration::from_secs(30);
/// Why what was committed may not come.
const NO_MARKER: &str = "a transaction was committed, and its marker is not in the log";

/// A reader of the log, with committed records only. It belongs to no consumer group.
pub struct DefinitionsLog {
    consumer: BaseConsumer<LogContext>,
    topic: String,
    brokers: String,
    /// The offset after the last record that was read.
    next: i64,
    /// Offset and timestamp of the last record that was read.
    last: Option<(i64, Timestamp)>,
    /// The last record is being read once more, to see whether it is still there.
    looking_back: bool,
    /// The end has come since reading began, or began anew.
    ended: bool,
    /// The topic was not there when it was last looked for.
    missing: bool,
}

/// What comes next in the log.
pub enum LogEvent<'l> {
    Record(BorrowedMessage<'l>),
    /// Everything that was committed when the broker last answered has been read.
    End,
    /// The topic was made anew or cut. What was read before counts no more; call [`DefinitionsLog::restart`].
    Remade,
    /// Nothing came in time.
    Nothing,
    /// The client goes on by itself, as long as it takes.
    Trouble(KafkaError),
}

/// The client's errors come out of its polls too, where they are reported once; so they are not logged here.
#[derive(Default)]
pub(super) struct LogContext(ClientErrors);

impl ClientContext for LogContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for LogContext {}

impl DefinitionsLog {
    /// Opens the log; does not wait for a broker. `wait` is how long a broker may hold a request
    /// open at the end of the log.
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
        let mut client = ClientConfig::new();
        client.extend(kafka.clone());
        client
            // Assigning wants a group's name, though nothing is ever committed or joined.
            .set("group.id", format!("{topic}.reader"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            .set("queued.min.messages", AHEAD)
            .set("fetch.queue.backoff.ms", LOOK_AWAY_MS)
            .set("fetch.wait.max.ms", wait.as_millis().to_string());
        client
    }

    /// Begins to read after the last record that was read, at first at the start: the next [`LogEvent::End`] is of an
    /// end asked for after this call.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.looking_back = false;
        self.assign(if self.next == 0 { Offset::Beginning } else { Offset::Offset(self.next) })
    }

    /// Reads the last record once more: a topic that was made anew while nobody looked has another one there.
    /// Kafka's client does not tell. It also tells the end of the log once more, if that is still where it was.
    pub fn look_back(&mut self) -> Result<(), StoreError> {
        let Some((offset, _)) = self.last else {
            // Asked again before it has come to its end, a slow reader would never get there.
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

    /// Begins anew at the start of the log.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        (self.next, self.last, self.missing) = (0, None, false);
        self.begin()
    }

    /// Waits for what comes next.
    pub fn next(&mut self, wait: Duration) -> LogEvent<'_> {
        match self.consumer.poll(wait) {
            None => LogEvent::Nothing,
            Some(Ok(record)) if self.looking_back => {
                self.looking_back = false;
                let same = self.last == Some((record.offset(), record.timestamp()));
                if same { LogEvent::Nothing } else { LogEvent::Remade }
            }
            Some(Err(KafkaError::PartitionEOF(_))) if self.looking_back => LogEvent::Remade,
            // Kafka's client goes back to the start by itself when its place in the log is gone. Where the new log
            // is the longer one it would not, but then the topic was missing for a moment.
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
                self.missing |= is_missing_topic(&error);
                LogEvent::Trouble(error)
            }
        }
    }

    /// Checks that the topic is there and has one partition.
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

    /// Reads from where the state is to the end, as it is after this call began.
    pub(super) fn read_to_end(&mut self, state: &StoreState) -> Result<(), StoreError> {
        self.read_past(i64::MIN, state)
    }

    /// The same, and on until a record that was committed at this offset has been read, or one behind it. A broker
    /// acknowledges a commit before its marker stands in the log, and until then the log seems to end before the record.
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
                // What was committed in a topic that is gone never comes.
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

/// Whether an error says that the topic is not there.
pub(super) fn is_missing_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}

/// Reads all definitions as they are now.
///
/// # Errors
/// The topic is missing or has several partitions, the broker can't be reached, or secrets can't be opened.
pub async fn read(config: &Config, kafka: &HashMap<String, String>) -> Result<Definitions, StoreError> {
    Ok(read_with_end(config, kafka).await?.0)
}

/// The same, and up to which offset they are written: an instance that knows as much knows all of these.
///
/// # Errors
/// As [`read`].
pub async fn read_with_end(config: &Config, kafka: &HashMap<String, String>) -> Result<(Definitions, i64), StoreError> {
    let state = to_end(config, kafka).await?;
    state.whole()?;
    let end = state.next();
    Ok((state.into_definitions(), end))
}

/// Up to which offset definitions are written now: an instance that knows as much knows all that is known at this
/// moment. Nobody's secrets are needed for that.
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

/// How long a broker may hold a request open at the end of the log for one who only wants to know that it is
/// there: an end is told only with the answer.
pub(super) const AT_END: Duration = Duration::from_millis(10);
