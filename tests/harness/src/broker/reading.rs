//! Reads topics to their ends.

use std::collections::HashMap;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp};
use rdkafka::{Offset, TopicPartitionList};

use super::{Broker, PATIENCE};

/// Errors of a client whose broker is away, hangs or has just started.
const PASSING: &[RDKafkaErrorCode] = &[
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::RequestTimedOut,
    RDKafkaErrorCode::NotLeaderForPartition,
    RDKafkaErrorCode::LeaderNotAvailable,
];

/// A record as stored in a topic.
#[derive(Debug, Clone)]
pub struct Stored {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

/// How far a topic has been read. The default is its start.
#[derive(Debug, Clone, Default)]
pub struct Position {
    /// The offset after the last record that was read, by partition.
    next: HashMap<i32, i64>,
}

impl Stored {
    /// The first header with a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Broker {
    /// All committed records of a topic, sorted by partition and offset.
    pub fn read_all(&self, topic: &str) -> Vec<Stored> {
        self.read_as(topic, "read_committed")
    }

    /// All records of a topic, including those of aborted and open transactions.
    pub fn read_uncommitted(&self, topic: &str) -> Vec<Stored> {
        self.read_as(topic, "read_uncommitted")
    }

    /// Passes the records that a topic has got since the last read to `see`, in order of offset per partition. For
    /// topics that are too large to keep or to read repeatedly.
    pub fn read_on(&self, topic: &str, position: &mut Position, see: impl FnMut(Stored)) {
        self.read(topic, "read_committed", position, see);
    }

    fn read_as(&self, topic: &str, isolation: &str) -> Vec<Stored> {
        let mut records = Vec::new();
        self.read(topic, isolation, &mut Position::default(), |record| records.push(record));
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    fn read(&self, topic: &str, isolation: &str, position: &mut Position, mut see: impl FnMut(Stored)) {
        let consumer = self.consumer(&[("enable.partition.eof", "true"), ("isolation.level", isolation)]);
        let mut assignment = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            let next = position.next.get(&partition).map_or(Offset::Beginning, |next| Offset::Offset(*next));
            assignment.add_partition_offset(topic, partition, next).expect("the position is an offset");
        }
        // A topic with constant writes has no final end, so the end at this time counts. It is unknown while a leader
        // is away. Transaction markers may follow the last record, and consumers do not see them.
        let end = |partition| consumer.fetch_watermarks(topic, partition, PATIENCE).map_or(i64::MAX, |(_, end)| end);
        let mut open: HashMap<i32, i64> = (0..assignment.count() as i32).map(|of| (of, end(of))).collect();
        consumer.assign(&assignment).expect("the partitions were just listed");
        while !open.is_empty() {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => {
                    let (partition, next) = (message.partition(), message.offset() + 1);
                    position.next.insert(partition, next);
                    open.retain(|of, end| *of != partition || next < *end);
                    see(stored(&message));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
                // A broker is away, hangs or starts. The client continues from the partition's next leader.
                Some(Err(KafkaError::MessageConsumption(code))) if PASSING.contains(&code) => {}
                Some(Err(error)) => panic!("can't read the topic {topic}: {error}"),
                None => panic!("the end of the topic {topic} was not reached in {PATIENCE:?}"),
            }
        }
    }
}

fn stored(message: &BorrowedMessage<'_>) -> Stored {
    let headers = message.headers().map(|headers| {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
    });
    Stored {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: match message.timestamp() {
            Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms,
            Timestamp::NotAvailable => 0,
        },
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
