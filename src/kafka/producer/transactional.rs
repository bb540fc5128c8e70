//! A producer that writes in transactions under a shared transactional id, until another client takes the id over.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer as _;

use super::PolledProducer;
use crate::kafka::errors::is_queue_full;

/// Max time for taking over the id, and for committing.
const STEP: Duration = Duration::from_secs(15);
/// Max time that a transaction may be open before the broker aborts it. Sending many records takes a while.
const TRANSACTION: Duration = Duration::from_secs(60);
/// Max time that a poll waits for the broker's answer.
const POLL: Duration = Duration::from_millis(1);

pub struct TransactionalProducer(PolledProducer<()>);

impl TransactionalProducer {
    /// Settings for this transactional id. `client` has the connection settings.
    pub fn settings(id: &str, mut client: ClientConfig) -> ClientConfig {
        client
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION.as_millis().to_string())
            // No step waits longer, and librdkafka rejects a value above the transaction timeout.
            .set("socket.timeout.ms", STEP.as_millis().to_string())
            .set("message.timeout.ms", TRANSACTION.as_millis().to_string())
            .set("delivery.report.only.error", "false")
            .set("linger.ms", "0");
        client
    }

    /// Does not wait for a broker. A fenced client can't be used again.
    ///
    /// # Errors
    /// The client library refuses the settings.
    pub fn new(topic: &str, settings: &ClientConfig) -> Result<Self, KafkaError> {
        // librdkafka logs a takeover by another writer as fatal, though writers take turns this way. The steps return
        // every error that matters.
        PolledProducer::create(topic, settings, true).map(Self)
    }

    /// Takes over the id: from now on no other client's transaction commits.
    ///
    /// # Errors
    /// The brokers refuse it or do not answer.
    pub fn take_over(&self) -> KafkaResult<()> {
        self.0.producer.init_transactions(STEP)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// This client is fenced.
    pub fn begin(&self) -> KafkaResult<()> {
        self.0.producer.begin_transaction()
    }

    /// Queues a record. Waits while the client's own queue is full.
    ///
    /// # Errors
    /// The client refuses the record.
    pub fn send(&self, key: &[u8], value: Option<&[u8]>) -> KafkaResult<()> {
        while let Err((error, ())) = self.0.try_to_send(key, value, ()) {
            if !is_queue_full(&error) {
                return Err(error);
            }
            self.0.producer.poll(POLL);
        }
        Ok(())
    }

    /// Waits until the broker has all records, before the commit, and returns their offsets in the order in which they
    /// were sent. The commit begins with rdkafka's own `flush`, which waits in steps of 100 ms while records are in
    /// flight. This wait ends, because a record that is not delivered in time is reported as failed.
    ///
    /// # Errors
    /// A record is not written.
    pub fn sent(&self) -> KafkaResult<Vec<i64>> {
        while self.0.producer.in_flight_count() > 0 {
            self.0.producer.poll(POLL);
        }
        self.0.outcomes(Duration::ZERO).into_iter().map(|((), offset)| offset).collect()
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// This client is fenced, or the brokers do not answer.
    pub fn commit(&self) -> KafkaResult<()> {
        self.0.producer.commit_transaction(STEP)
    }
}
