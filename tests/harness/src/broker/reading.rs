//! Topics, read to their ends.

use std::collections::HashMap;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp};
use rdkafka::{Offset, TopicPartitionList};

use super::{Broker, PATIENCE};

/// A record as it is kept in a topic.
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

/// How far a topic has been read: at first not at all.
#[derive(Debug, Clone, Default)]
pub struct Position {
    /// By partition: the offset behind the last record.
    next: HashMap<i32, i64>,
}

impl Stored {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Broker {
    /// All records of a topic that a transaction has not left invisible, partition after partition.
    pub fn read_all(&self, topic: &str) -> Vec<Stored> {
        self.read_as(topic, "read_committed")
    }

    /// The same with the records of transactions that were aborted or are open still.
    pub fn read_uncommitted(&self, topic: &str) -> Vec<Stored> {
        self.read_as(topic, "read_uncommitted")
    }

    /// Shows what has come to a topic since it was read last, each partition's records in their order: for topics that
    /// are too large to be read again and again, or to be kept.
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
            assignment.add_partition_offset(topic, partition, next).expect("where it was read to is an offset");
        }
        // A topic that is written all the time has no end but the one that it had. Where a leader is away nobody knows
        // that; and behind the last record there may be marks of transactions, which nobody is shown.
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
                // A broker that is away; the client reads on from the partition's next leader.
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))) => {}
                Some(Err(error)) => panic!("the topic {topic} can't be read: {error}"),
                None => panic!("the topic {topic} did not come to its end in {PATIENCE:?}"),
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
