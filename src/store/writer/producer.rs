//! The producer that holds the shared transactional id.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Message as _};

use crate::definition::LogRecord;
use crate::kafka::errors;
use crate::store::StoreError;
use crate::store::log::PARTITION;
use crate::store::write_failure::{Cut, WriteFailure};

/// Max time for taking over the id, and for committing.
const STEP: Duration = Duration::from_secs(15);
/// Max time that a transaction may be open before the broker aborts it. Sending many definitions takes a while.
const TRANSACTION: Duration = Duration::from_secs(60);

/// Transactions under the shared id, until another writer takes it over.
pub(super) struct Transactions {
    topic: String,
    producer: BaseProducer<Deliveries>,
}

pub(in crate::store) fn settings(topic: &str, kafka: &HashMap<String, String>) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.extend(kafka.clone());
    client
        .set("transactional.id", topic)
        .set("transaction.timeout.ms", TRANSACTION.as_millis().to_string())
        // No step waits longer, and librdkafka rejects a value above the transaction timeout.
        .set("socket.timeout.ms", STEP.as_millis().to_string())
        .set("message.timeout.ms", TRANSACTION.as_millis().to_string())
        .set("delivery.report.only.error", "false")
        .set("linger.ms", "0");
    client
}

impl Transactions {
    /// Takes over the id: from now on no other writer's transaction commits. Creates a new client each time, because
    /// a fenced client can't be used again.
    pub fn take_over(topic: &str, kafka: &HashMap<String, String>) -> Result<Self, Cut> {
        let producer = settings(topic, kafka)
            .create_with_context(Deliveries::default())
            .map_err(|source| StoreError::Client { topic: topic.to_owned(), source: source.into() })
            .map_err(|error| Cut::Failed(error.into()))?;
        let transactions = Self { topic: topic.to_owned(), producer };
        transactions.step("taking over the transactional id", transactions.producer.init_transactions(STEP))?;
        Ok(transactions)
    }

    /// Writes the records with these values, all or none, and returns their offsets.
    pub fn commit(
        &mut self,
        records: &[LogRecord],
        values: impl Iterator<Item = Option<Vec<u8>>>,
    ) -> Result<Vec<i64>, Cut> {
        self.step("beginning the transaction", self.producer.begin_transaction())?;
        for (record, value) in records.iter().zip(values) {
            self.step("sending the records", self.send(record, value.as_deref()))?;
        }
        let offsets = self.step("sending the records", self.sent())?;
        self.step("committing", self.producer.commit_transaction(STEP))?;
        Ok(offsets)
    }

    fn send(&self, record: &LogRecord, value: Option<&[u8]>) -> KafkaResult<()> {
        let key = record.key.to_string();
        let mut message = BaseRecord::to(&self.topic).partition(PARTITION).key(&key);
        message.payload = value;
        while let Err((error, back)) = self.producer.send(message) {
            if !errors::is_queue_full(&error) {
                return Err(error);
            }
            message = back;
            self.producer.poll(POLL);
        }
        Ok(())
    }

    /// Waits until the broker has all records, before the commit. The commit begins with rdkafka's own `flush`, which
    /// waits in steps of 100 ms while records are in flight. This wait ends, because a record that is not delivered
    /// in time is reported as failed.
    fn sent(&self) -> KafkaResult<Vec<i64>> {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(POLL);
        }
        self.producer.context().take()
    }

    fn step<T>(&self, step: &'static str, result: KafkaResult<T>) -> Result<T, Cut> {
        result.map_err(|error| {
            let source = Box::new(error);
            if errors::is_final(&source) {
                Cut::Failed(WriteFailure::Kafka { topic: self.topic.clone(), step, source })
            } else {
                Cut::Again { step, source }
            }
        })
    }
}

/// Max time that a poll waits for the broker's answer.
const POLL: Duration = Duration::from_millis(1);

/// Offsets of the records in the order in which they were sent, or the first error.
struct Deliveries(Mutex<KafkaResult<Vec<i64>>>);

impl Default for Deliveries {
    fn default() -> Self {
        Self(Mutex::new(Ok(Vec::new())))
    }
}

impl Deliveries {
    fn take(&self) -> KafkaResult<Vec<i64>> {
        std::mem::replace(&mut self.0.lock(), Ok(Vec::new()))
    }
}

impl ClientContext for Deliveries {
    // librdkafka logs a takeover by another writer as fatal, though writers take turns this way. The steps return
    // every error that matters.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!("definitions producer: {facility}: {text}");
    }

    // The interrupted step returns every error that matters.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("definitions producer: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut delivered = self.0.lock();
        match (result, &mut *delivered) {
            (Ok(record), Ok(offsets)) => offsets.push(record.offset()),
            (Err((error, _)), Ok(_)) => *delivered = Err(error.clone()),
            (_, Err(_)) => {}
        }
    }
}
