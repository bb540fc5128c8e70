//! Writes definitions in transactions under one shared transactional id, so that a second writer is fenced.
//!
//! A writer takes over the id, which fences the writer before it. It reads the log to its end, decides on that state,
//! and commits. While no other writer takes over the id, the log gets no other records, and the writer only decides
//! and commits. (A refusal writes nothing, so it may be decided on a state as old as the follower's.) A fenced writer
//! has written nothing that readers see. It takes over the id again and decides again. So at most one of two writers
//! that decide on the same state commits.

mod producer;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::producer::Transactions;
pub(super) use self::producer::settings;
use super::state::StoreState;
use super::write_failure::{MAX_TRIES, TryError, WriteFailure};
use super::write_request::WriteRequest;
use super::{Config, StoreError};
use crate::definition::{LogRecord, PendingDefinitions};
use crate::kafka::log_follower::LogFollower;
use crate::store::definitions_log::{self, END_FETCH_WAIT};

/// Wait before the second try. It doubles for each further try. Up to the same time is added at random.
const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(25);
/// Max queued writes in one transaction.
const MAX_BATCHED_WRITES: usize = 256;

/// Appends records to the log and applies them to the state.
pub(super) struct DefinitionsWriter {
    config: Config,
    kafka: HashMap<String, String>,
    log: LogFollower,
    state: Arc<StoreState>,
    /// Held until another writer fences it.
    transactions: Option<Transactions>,
    /// Offset of the next record if no other writer has written since the last one.
    expected_offset: Option<i64>,
    stopping: CancellationToken,
}

impl DefinitionsWriter {
    /// Creates a writer that has not taken over the id yet. Does not wait for a broker.
    pub fn new(config: &Config, kafka: &HashMap<String, String>, state: Arc<StoreState>) -> Result<Self, StoreError> {
        let log = definitions_log::open(config, kafka, END_FETCH_WAIT)?;
        Ok(Self {
            config: config.clone(),
            kafka: kafka.clone(),
            log,
            state,
            transactions: None,
            expected_offset: None,
            stopping: CancellationToken::new(),
        })
    }

    /// Makes the writer stop retrying once a stop is requested.
    pub fn stopped_by(self, stopping: CancellationToken) -> Self {
        Self { stopping, ..self }
    }

    /// Checks that the topic exists and has one partition.
    pub fn check(&self) -> Result<(), StoreError> {
        definitions_log::check(&self.log, &self.state)
    }

    /// Reads the log to its end without taking over the id.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        definitions_log::read_to_end(&mut self.log, &self.state)
    }

    /// Writes requests until all senders are dropped. Queued requests share a transaction.
    pub fn serve(mut self, mut requests: mpsc::Receiver<Box<dyn WriteRequest>>) {
        while let Some(first) = requests.blocking_recv() {
            let mut together = vec![first];
            while together.len() < MAX_BATCHED_WRITES
                && let Ok(next) = requests.try_recv()
            {
                together.push(next);
            }
            self.write(together);
        }
    }

    /// Writes the records that these requests decide on, and answers each request.
    pub fn write(&mut self, mut requests: Vec<Box<dyn WriteRequest>>) {
        match self.write_with_retries(&mut requests) {
            // One request that can't be written must not fail the others.
            Err(WriteFailure::Kafka { .. }) if requests.len() > 1 => {
                for request in requests {
                    self.write(vec![request]);
                }
            }
            written => {
                let written = written.map_err(Arc::new);
                requests.into_iter().for_each(|request| request.send_outcome(&written));
            }
        }
    }

    fn write_with_retries(&mut self, requests: &mut [Box<dyn WriteRequest>]) -> Result<(), WriteFailure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let cut = match self.try_to_write(requests) {
                Ok(()) => return Ok(()),
                Err(cut) => cut,
            };
            self.transactions = None;
            let is_last = tries == MAX_TRIES || self.stopping.is_cancelled();
            match cut {
                TryError::Failed(error) => return Err(error),
                TryError::Retry { step, source } if is_last => {
                    return Err(WriteFailure::Interrupted { topic: self.config.topic.clone(), step, source });
                }
                TryError::Retry { step, source } => {
                    tracing::debug!("writing definitions was interrupted while {step}: {source}");
                    thread::sleep(retry_delay(tries));
                }
            }
        }
    }

    fn try_to_write(&mut self, requests: &mut [Box<dyn WriteRequest>]) -> Result<(), TryError> {
        let mut transactions = match self.transactions.take() {
            Some(ours) => ours,
            None => {
                let ours = Transactions::take_over(&self.config.topic, &self.kafka)?;
                self.expected_offset = None;
                self.read(definitions_log::read_to_end)?;
                ours
            }
        };
        self.state.check_complete().map_err(|error| TryError::Failed(error.into()))?;
        let records = self.decide(requests);
        if !records.is_empty() {
            let sealed = records.iter().map(|record| record.sealed(&self.config.secret_keys, &random));
            let offsets = transactions.commit(&records, sealed)?;
            self.apply(&records, &offsets)?;
        }
        self.transactions = Some(transactions);
        Ok(())
    }

    /// Applies committed records. If they directly follow the records that this writer wrote before, no other record
    /// can be between, and they are applied directly. Otherwise the log is read, with any other records in it.
    fn apply(&mut self, records: &[LogRecord], offsets: &[i64]) -> Result<(), TryError> {
        let follows = self.expected_offset.is_some() && self.expected_offset == offsets.first().copied();
        let in_a_row = offsets.len() == records.len() && offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        if !(follows && in_a_row && self.state.apply_committed(records, offsets)) {
            let last = offsets.iter().max().copied().unwrap_or(i64::MIN);
            self.read(|definitions_log, state| definitions_log::read_past(definitions_log, last, state))?;
        }
        // A commit marker follows the records of a transaction and takes one offset.
        self.expected_offset = offsets.last().filter(|last| in_a_row && **last >= 0).map(|last| last + 2);
        Ok(())
    }

    fn read(
        &mut self,
        read: impl FnOnce(&mut LogFollower, &StoreState) -> Result<(), StoreError>,
    ) -> Result<(), TryError> {
        read(&mut self.log, &self.state).map_err(|error| TryError::Failed(error.into()))
    }

    /// Each request decides on the state that the requests before it leave.
    fn decide(&self, requests: &mut [Box<dyn WriteRequest>]) -> Vec<LogRecord> {
        let definitions = self.state.definitions();
        let mut draft = PendingDefinitions::new(&definitions);
        let mut records = Vec::new();
        for request in requests {
            let decided = request.decide(&draft);
            draft.add(&decided);
            records.extend(decided);
        }
        records
    }
}

/// Fills bytes with random values.
fn random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the operating system returns random bytes");
}

/// Wait before the next try. Its random part keeps two writers from interrupting each other forever.
fn retry_delay(next_try: u32) -> Duration {
    let wait = INITIAL_RETRY_DELAY * 2_u32.pow(next_try - 1);
    wait + wait.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
