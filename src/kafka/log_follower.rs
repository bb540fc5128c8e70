//! Reads a topic of one partition, such as the definitions topic, as a log: to its end, then newer records.

use std::iter;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _, Timestamp};
use rdkafka::topic_partition_list::Offset;

use super::topic_consumer::{TopicConsumer, TopicError};
use super::{ClientConfig, errors};

/// Max time for a broker to answer a metadata request.
const ANSWER: Duration = Duration::from_secs(10);
/// Records that the client fetches ahead. When it has fetched them it pauses fetching, by default for a second. With
/// that default, pauses would take most of the time that reading many records takes.
const AHEAD: &str = "20000";
const LOOK_AWAY_MS: &str = "5";

/// Reader of the log. Returns only committed records. Joins no consumer group.
pub struct LogFollower {
    consumer: TopicConsumer,
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
    Record(Record<'l>),
    /// All records that were committed when the broker last answered have been read.
    End,
    /// The topic was recreated or truncated. Records read before are no longer valid; call [`LogFollower::restart`].
    Remade,
    /// No event within the wait.
    Nothing,
    /// An error. The client retries automatically, without a limit.
    Trouble(KafkaError),
}

/// A record of the log, borrowed from the client's buffer.
pub struct Record<'l>(BorrowedMessage<'l>);

impl Record<'_> {
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Kafka's timestamp in milliseconds since 1970.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.0.timestamp().to_millis()
    }

    /// Empty if the record has none.
    pub fn key(&self) -> &[u8] {
        self.0.key().unwrap_or_default()
    }

    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }
}

impl LogFollower {
    /// Does not wait for a broker. `client` has the connection settings. `wait` is the max time that a broker may hold
    /// a request open at the end of the log.
    ///
    /// # Errors
    /// The client library refuses the settings.
    pub fn open(topic: &str, client: ClientConfig, wait: Duration) -> Result<Self, TopicError> {
        let consumer = TopicConsumer::open(topic, &Self::settings(topic, client, wait))?;
        Ok(Self { consumer, next: 0, last: None, looking_back: false, ended: false, missing: false })
    }

    pub fn settings(topic: &str, client: ClientConfig, wait: Duration) -> ClientConfig {
        let mut client = TopicConsumer::settings(topic, client);
        client
            .set("queued.min.messages", AHEAD)
            .set("fetch.queue.backoff.ms", LOOK_AWAY_MS)
            .set("fetch.wait.max.ms", wait.as_millis().to_string());
        client
    }

    /// The number of partitions of the topic. The log is only the first one.
    ///
    /// # Errors
    /// The topic does not exist, or no broker answers in time.
    pub fn partitions(&self) -> Result<usize, TopicError> {
        self.consumer.partitions(ANSWER)
    }

    /// Continues at this offset, or at the start if it is 0. The next [`LogEvent::End`] is for an end requested after
    /// this call.
    ///
    /// # Errors
    /// The client library refuses the assignment.
    pub fn begin(&mut self, next: i64) -> Result<(), TopicError> {
        (self.next, self.looking_back) = (next, false);
        self.assign(if next == 0 { Offset::Beginning } else { Offset::Offset(next) })
    }

    /// Reads the last record again. If the topic was recreated while the reader was not polling, another record is at
    /// that offset; Kafka's client does not report that. If the end of the log has not moved, it is reported again
    /// too.
    ///
    /// # Errors
    /// Those of [`LogFollower::begin`].
    pub fn look_back(&mut self) -> Result<(), TopicError> {
        let Some((offset, _)) = self.last else {
            // Only after the end: restarting a slow reader before its end would keep it from ever reaching the end.
            return if self.ended { self.begin(self.next) } else { Ok(()) };
        };
        self.looking_back = true;
        self.assign(Offset::Offset(offset))
    }

    /// Reads the log from its start again.
    ///
    /// # Errors
    /// Those of [`LogFollower::begin`].
    pub fn restart(&mut self) -> Result<(), TopicError> {
        (self.last, self.missing) = (None, false);
        self.begin(0)
    }

    fn assign(&mut self, offset: Offset) -> Result<(), TopicError> {
        self.ended = false;
        self.consumer.assign(iter::once((0, offset)))
    }

    /// Waits for the next event.
    pub fn next(&mut self, wait: Duration) -> LogEvent<'_> {
        match self.consumer.poll(wait) {
            None => LogEvent::Nothing,
            Some(Ok(record)) if self.looking_back => {
                self.looking_back = false;
                let is_same = self.last == Some((record.offset(), record.timestamp()));
                if is_same { LogEvent::Nothing } else { LogEvent::Remade }
            }
            Some(Err(KafkaError::PartitionEOF(_))) if self.looking_back => LogEvent::Remade,
            // Kafka's client returns to the start automatically when its offset no longer exists in the log. If the
            // new log is longer, the offset exists, but the topic was reported missing for a moment.
            Some(Ok(record)) if self.missing || record.offset() < self.next => LogEvent::Remade,
            Some(Err(KafkaError::PartitionEOF(_))) if self.missing => LogEvent::Remade,
            Some(Ok(record)) => {
                self.next = record.offset() + 1;
                self.last = Some((record.offset(), record.timestamp()));
                LogEvent::Record(Record(record))
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.ended = true;
                LogEvent::End
            }
            Some(Err(error)) if errors::is_group_error(&error) => LogEvent::Nothing,
            Some(Err(error)) => {
                self.missing |= errors::is_missing_topic(&error);
                LogEvent::Trouble(error)
            }
        }
    }
}
