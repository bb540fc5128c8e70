//! Writes definitions in transactions under one shared transactional id, so that a second writer is fenced.
//!
//! A write takes the id over (which fences whoever had it), reads the log to its end, decides on the state
//! that it finds, and commits. A writer that was fenced meanwhile wrote nothing that anybody sees; it starts
//! over and decides anew. So of two writers that decide on the same state at most one commits.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use ring::rand::{SecureRandom, SystemRandom};

use super::log::{AT_END, Log, PARTITION};
use super::{Config, StoreError};
use crate::definition::{Definitions, LogRecord};

/// How often a write is begun before it is given up.
const TRIES: u32 = 8;
/// How long taking over the id and committing may take.
const STEP: Duration = Duration::from_secs(15);
/// How long a transaction may be open before the broker aborts it: many definitions take a while to send.
const TRANSACTION: Duration = Duration::from_secs(60);
/// The wait before the second try; doubled for each one after, plus up to as much by chance.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// Why definitions were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// What was to be written may not be, as the definitions stand.
    #[error(transparent)]
    Refused(E),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("definitions could not be written to topic {topic}, when {step}: {source}{}", mend(.source, .topic))]
    Kafka { topic: String, step: &'static str, source: Box<KafkaError> },
    #[error(
        "definitions could not be written to topic {topic}: {TRIES} tries were cut off, the last one when {step}: \
         {source}; if others write definitions all the time, try again"
    )]
    CutOff { topic: String, step: &'static str, source: Box<KafkaError> },
}

/// Writes what `decide` makes of the definitions as they stand, all of it or nothing, and returns what it says
/// beside.
///
/// `decide` may be called several times, each time with a newer state. When an earlier try's commit went
/// through and only its answer was lost, the state holds what that try wrote.
///
/// # Errors
/// `decide` refused, the topic is not as it must be, or Kafka does not take the records.
pub async fn write<T, E, D>(config: &Config, kafka: &HashMap<String, String>, decide: D) -> Result<T, WriteError<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    D: FnMut(&Definitions) -> Result<(Vec<LogRecord>, T), E> + Send + 'static,
{
    let log = Log::open(config, kafka, AT_END)?;
    let writer = Writer { topic: config.topic.clone(), kafka: kafka.clone(), log, definitions: Definitions::default() };
    tokio::task::spawn_blocking(move || writer.write(decide)).await.expect("writing definitions does not panic")
}

struct Writer {
    topic: String,
    kafka: HashMap<String, String>,
    log: Log,
    definitions: Definitions,
}

/// How a try ended without its records being written.
enum Cut<E> {
    /// Another writer took over, or a broker was lost: worth another try.
    Again {
        step: &'static str,
        source: Box<KafkaError>,
    },
    Failed(WriteError<E>),
}

impl<E> From<StoreError> for Cut<E> {
    fn from(error: StoreError) -> Self {
        Cut::Failed(error.into())
    }
}

impl Writer {
    fn write<T, E>(
        mut self,
        mut decide: impl FnMut(&Definitions) -> Result<(Vec<LogRecord>, T), E>,
    ) -> Result<T, WriteError<E>> {
        self.log.check()?;
        // The bulk is read before the id is taken over, so that taking over and committing are close together.
        self.log.read_to_end(&mut self.definitions)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_to_write(&mut decide) {
                Ok(outcome) => return Ok(outcome),
                Err(Cut::Failed(error)) => return Err(error),
                Err(Cut::Again { step, source }) if tries == TRIES => {
                    return Err(WriteError::CutOff { topic: self.topic, step, source });
                }
                Err(Cut::Again { step, source }) => {
                    tracing::debug!("writing definitions was cut off, when {step}: {source}");
                    thread::sleep(wait_before(tries));
                }
            }
        }
    }

    fn try_to_write<T, E>(
        &mut self,
        decide: &mut impl FnMut(&Definitions) -> Result<(Vec<LogRecord>, T), E>,
    ) -> Result<T, Cut<E>> {
        let producer = self.producer()?;
        self.step("taking over the transactional id", producer.init_transactions(STEP))?;
        self.log.read_to_end(&mut self.definitions)?;
        let (records, outcome) = decide(&self.definitions).map_err(|e| Cut::Failed(WriteError::Refused(e)))?;
        if records.is_empty() {
            return Ok(outcome);
        }
        self.step("beginning the transaction", producer.begin_transaction())?;
        self.step("sending the records", send(&producer, &self.topic, &records))?;
        self.step("committing", producer.commit_transaction(STEP))?;
        Ok(outcome)
    }

    /// A new client for each try: one that was fenced can't be used again.
    fn producer(&self) -> Result<BaseProducer<Deliveries>, StoreError> {
        let mut client = ClientConfig::new();
        client.extend(self.kafka.clone());
        client
            .set("transactional.id", &self.topic)
            .set("transaction.timeout.ms", TRANSACTION.as_millis().to_string())
            .set("message.timeout.ms", TRANSACTION.as_millis().to_string())
            .set("linger.ms", "0")
            .create_with_context(Deliveries::default())
            .map_err(|source| StoreError::Client { topic: self.topic.clone(), source: source.into() })
    }

    fn step<E>(&self, step: &'static str, result: KafkaResult<()>) -> Result<(), Cut<E>> {
        result.map_err(|error| {
            let source = Box::new(error);
            if is_final(&source) {
                Cut::Failed(WriteError::Kafka { topic: self.topic.clone(), step, source })
            } else {
                Cut::Again { step, source }
            }
        })
    }
}

/// Sends the records and waits until the broker has them all, before the commit: rdkafka's own `flush`, which
/// its commit begins with, waits in steps of 100 ms while anything is under way.
fn send(producer: &BaseProducer<Deliveries>, topic: &str, records: &[LogRecord]) -> KafkaResult<()> {
    const POLL: Duration = Duration::from_millis(1);
    for record in records {
        let key = record.key.to_string();
        let mut message = BaseRecord::to(topic).partition(PARTITION).key(&key);
        message.payload = record.value.as_deref();
        while let Err((error, back)) = producer.send(message) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error);
            }
            message = back;
            producer.poll(POLL);
        }
    }
    // It ends: a record that is not delivered in time is reported as failed.
    while producer.in_flight_count() > 0 {
        producer.poll(POLL);
    }
    producer.context().first_error()
}

/// Remembers the first record that could not be delivered.
#[derive(Default)]
struct Deliveries(Mutex<Option<KafkaError>>);

impl Deliveries {
    fn first_error(&self) -> KafkaResult<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl ClientContext for Deliveries {
    // What matters of the client's errors comes back from the step that they cut off.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("definitions' producer: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

/// Whether trying again would end in the same way. What is left out, being fenced above all, may pass.
fn is_final(error: &KafkaError) -> bool {
    is_denied(error)
        || matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidRecord
                    | RDKafkaErrorCode::PolicyViolation
                    | RDKafkaErrorCode::UnsupportedVersion
                    | RDKafkaErrorCode::UnsupportedFeature
            )
        )
}

fn is_denied(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}

fn mend(error: &KafkaError, topic: &str) -> String {
    if is_denied(error) {
        format!("; allow this client Write and Describe on the topic and on the transactional id {topic}")
    } else if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
        "; a definition is larger than the topic's max.message.bytes allows: raise it, or make the definition smaller"
            .to_owned()
    } else {
        String::new()
    }
}

/// Chance keeps two writers that cut each other off from doing so for ever.
fn wait_before(next_try: u32) -> Duration {
    let wait = FIRST_WAIT * 2_u32.pow(next_try - 1);
    let mut chance = [0; 1];
    // Without randomness the wait is only less spread.
    let _ = SystemRandom::new().fill(&mut chance);
    wait + wait * u32::from(chance[0]) / 256
}

#[cfg(test)]
mod tests;
