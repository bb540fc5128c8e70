//! Writes definitions in transactions under one shared transactional id, so that a second writer is fenced.
//!
//! A writer takes the id over (which fences whoever had it), reads the log to its end, decides on the state
//! that it finds, and commits. As long as nobody takes the id away, what it wrote is all that came to the log, and
//! it need only decide and commit. (A refusal writes nothing, so that one may go by a state that is as old as the
//! follower's.) A writer that was fenced wrote nothing that anybody sees; it takes the id over
//! again and decides anew. So of two writers that decide on the same state at most one commits.

mod producer;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::error::KafkaError;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::mpsc;

use self::producer::Transactions;
pub(super) use self::producer::settings;
use super::log::{AT_END, DefinitionsLog};
use super::state::StoreState;
use super::write_request::Request;
use super::{Config, StoreError};
use crate::definition::{LogRecord, PendingDefinitions};
use crate::lifecycle::Stopping;

/// How often a write is begun before it is given up.
const TRIES: u32 = 8;
/// The wait before the second try; doubled for each one after, plus up to as much by chance.
const FIRST_WAIT: Duration = Duration::from_millis(25);
/// How many writes that wait share a transaction.
const TOGETHER: usize = 256;

/// Why definitions could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteFailure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("definitions could not be written to topic {topic}, when {step}: {source}{}", producer::mend(.source, .topic))]
    Kafka { topic: String, step: &'static str, source: Box<KafkaError> },
    #[error(
        "definitions could not be written to topic {topic}: {TRIES} tries were cut off, the last one when {step}: \
         {source}; if others write definitions all the time, try again"
    )]
    CutOff { topic: String, step: &'static str, source: Box<KafkaError> },
}

/// How a try ended without its records being written.
pub(super) enum Cut {
    /// Another writer took over, or a broker was lost: worth another try.
    Again {
        step: &'static str,
        source: Box<KafkaError>,
    },
    Failed(WriteFailure),
}

/// Adds to the log and, with what it added, to the state.
pub(super) struct DefinitionsWriter {
    config: Config,
    kafka: HashMap<String, String>,
    log: DefinitionsLog,
    state: Arc<StoreState>,
    /// Ours until another writer fences it.
    transactions: Option<Transactions>,
    /// The offset that our next record has if nobody else has written since our last one.
    expected: Option<i64>,
    stopping: Option<Stopping>,
}

impl DefinitionsWriter {
    /// A writer that has not taken the id over yet; does not wait for a broker.
    pub fn new(config: &Config, kafka: &HashMap<String, String>, state: Arc<StoreState>) -> Result<Self, StoreError> {
        let log = DefinitionsLog::open(config, kafka, AT_END)?;
        Ok(Self {
            config: config.clone(),
            kafka: kafka.clone(),
            log,
            state,
            transactions: None,
            expected: None,
            stopping: None,
        })
    }

    /// Gives up early once a stop is asked for.
    pub fn stopped_by(self, stopping: Stopping) -> Self {
        Self { stopping: Some(stopping), ..self }
    }

    /// Checks that the topic is as it must be.
    pub fn check(&self) -> Result<(), StoreError> {
        self.log.check()
    }

    /// Reads the log to its end without taking the id over.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        self.log.read_to_end(&self.state)
    }

    /// Writes what is asked for until nobody is left who could ask. Those that wait share a transaction.
    pub fn serve(mut self, mut requests: mpsc::Receiver<Box<dyn Request>>) {
        while let Some(first) = requests.blocking_recv() {
            let mut together = vec![first];
            while together.len() < TOGETHER
                && let Ok(next) = requests.try_recv()
            {
                together.push(next);
            }
            self.write(together);
        }
    }

    /// Writes what all of these decide, and answers each.
    pub fn write(&mut self, mut requests: Vec<Box<dyn Request>>) {
        match self.until_written(&mut requests) {
            // One that can't be written must not take the others with it.
            Err(WriteFailure::Kafka { .. }) if requests.len() > 1 => {
                for request in requests {
                    self.write(vec![request]);
                }
            }
            written => {
                let written = written.map_err(Arc::new);
                requests.into_iter().for_each(|request| request.answer(&written));
            }
        }
    }

    fn until_written(&mut self, requests: &mut [Box<dyn Request>]) -> Result<(), WriteFailure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let cut = match self.try_to_write(requests) {
                Ok(()) => return Ok(()),
                Err(cut) => cut,
            };
            self.transactions = None;
            let is_last = tries == TRIES || self.stopping.as_ref().is_some_and(Stopping::is_asked);
            match cut {
                Cut::Failed(error) => return Err(error),
                Cut::Again { step, source } if is_last => {
                    return Err(WriteFailure::CutOff { topic: self.config.topic.clone(), step, source });
                }
                Cut::Again { step, source } => {
                    tracing::debug!("writing definitions was cut off, when {step}: {source}");
                    thread::sleep(wait_before(tries));
                }
            }
        }
    }

    fn try_to_write(&mut self, requests: &mut [Box<dyn Request>]) -> Result<(), Cut> {
        let mut transactions = match self.transactions.take() {
            Some(ours) => ours,
            None => {
                let ours = Transactions::take_over(&self.config.topic, &self.kafka)?;
                self.expected = None;
                self.read(DefinitionsLog::read_to_end)?;
                ours
            }
        };
        self.state.whole().map_err(|error| Cut::Failed(error.into()))?;
        let records = self.decide(requests);
        if !records.is_empty() {
            let sealed = records.iter().map(|record| record.sealed(&self.config.secret_keys, &random));
            let offsets = transactions.commit(&records, sealed)?;
            self.apply(&records, &offsets)?;
        }
        self.transactions = Some(transactions);
        Ok(())
    }

    /// Applies what was committed. Directly if it follows what this writer wrote before, so that nothing can be
    /// between; else by reading the log, whatever came to it.
    fn apply(&mut self, records: &[LogRecord], offsets: &[i64]) -> Result<(), Cut> {
        let follows = self.expected.is_some() && self.expected == offsets.first().copied();
        let in_a_row = offsets.len() == records.len() && offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        if !(follows && in_a_row && self.state.committed(records, offsets)) {
            let last = offsets.iter().max().copied().unwrap_or(i64::MIN);
            self.read(|log, state| log.read_past(last, state))?;
        }
        // A marker of the commit stands behind the records of a transaction.
        self.expected = offsets.last().filter(|last| in_a_row && **last >= 0).map(|last| last + 2);
        Ok(())
    }

    fn read(
        &mut self,
        read: impl FnOnce(&mut DefinitionsLog, &StoreState) -> Result<(), StoreError>,
    ) -> Result<(), Cut> {
        read(&mut self.log, &self.state).map_err(|error| Cut::Failed(error.into()))
    }

    /// Lets each decide on what the ones before it leave.
    fn decide(&self, requests: &mut [Box<dyn Request>]) -> Vec<LogRecord> {
        let definitions = self.state.definitions();
        let mut draft = PendingDefinitions::on(&definitions);
        let mut records = Vec::new();
        for request in requests {
            let decided = request.decide(&draft);
            draft.put(&decided);
            records.extend(decided);
        }
        records
    }
}

/// Fills bytes at random.
fn random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("every system that this runs on gives random bytes");
}

/// Chance keeps two writers that cut each other off from doing so for ever.
fn wait_before(next_try: u32) -> Duration {
    let wait = FIRST_WAIT * 2_u32.pow(next_try - 1);
    let mut chance = [0; 1];
    random(&mut chance);
    wait + wait * u32::from(chance[0]) / 256
}

#[cfg(test)]
mod tests;
