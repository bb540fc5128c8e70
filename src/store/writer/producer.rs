//! The producer that holds the shared transactional id of the writers of definitions.

use std::collections::HashMap;

use crate::definition::LogRecord;
use crate::kafka::producer::TransactionalProducer;
use crate::kafka::{ClientConfig, KafkaError, TopicError, errors};
use crate::store::StoreError;
use crate::store::write_failure::{TryError, WriteFailure};

/// Transactions under the shared id, until another writer takes it over.
pub(super) struct Transactions {
    topic: String,
    producer: TransactionalProducer,
}

pub(in crate::store) fn settings(topic: &str, kafka: &HashMap<String, String>) -> ClientConfig {
    TransactionalProducer::settings(topic, kafka.clone().into_iter().collect())
}

impl Transactions {
    /// Takes over the id: from now on no other writer's transaction commits. Creates a new client each time, because
    /// a fenced client can't be used again.
    pub fn take_over(topic: &str, kafka: &HashMap<String, String>) -> Result<Self, TryError> {
        let producer = TransactionalProducer::new(topic, &settings(topic, kafka))
            .map_err(|source| TryError::Failed(StoreError::from(TopicError::client(topic, source)).into()))?;
        let transactions = Self { topic: topic.to_owned(), producer };
        transactions.step("taking over the transactional id", transactions.producer.take_over())?;
        Ok(transactions)
    }

    /// Writes the records with these values, all or none, and returns their offsets.
    pub fn commit(
        &mut self,
        records: &[LogRecord],
        values: impl Iterator<Item = Option<Vec<u8>>>,
    ) -> Result<Vec<i64>, TryError> {
        self.step("beginning the transaction", self.producer.begin())?;
        for (record, value) in records.iter().zip(values) {
            let sent = self.producer.send(record.key.to_string().as_bytes(), value.as_deref());
            self.step("sending the records", sent)?;
        }
        let offsets = self.step("sending the records", self.producer.sent())?;
        self.step("committing", self.producer.commit())?;
        Ok(offsets)
    }

    fn step<T>(&self, step: &'static str, result: Result<T, KafkaError>) -> Result<T, TryError> {
        result.map_err(|error| {
            let source = Box::new(error);
            if errors::is_final(&source) {
                TryError::Failed(WriteFailure::Kafka { topic: self.topic.clone(), step, source })
            } else {
                TryError::Retry { step, source }
            }
        })
    }
}
