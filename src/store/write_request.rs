//! A queued write: its decision, and the channel for its outcome.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::write_failure::WriteFailure;
use crate::definition::{LogRecord, PendingDefinitions};

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The current definitions do not allow the write.
    #[error(transparent)]
    Refused(E),
    #[error("{0}")]
    NotWritten(Arc<WriteFailure>),
}

impl<E, U: Into<WriteFailure>> From<U> for WriteError<E> {
    fn from(error: U) -> Self {
        WriteError::NotWritten(Arc::new(error.into()))
    }
}

/// A write of any type, as the writer sees it.
pub(in crate::store) trait WriteRequest: Send {
    /// Returns the records to write for the current definitions. Called again after an interrupted try.
    fn decide(&mut self, draft: &PendingDefinitions<'_>) -> Vec<LogRecord>;

    /// Reports whether the records decided last are written.
    fn send_outcome(self: Box<Self>, written: &Result<(), Arc<WriteFailure>>);
}

/// A write that `decide` makes, and the sender of its outcome.
pub(in crate::store) struct PendingWrite<T, E, D> {
    decide: D,
    outcome: Option<Result<T, E>>,
    /// Records of the last try, unless the definitions held all of them already. If they are found later, that try
    /// was committed.
    last_try_records: Vec<LogRecord>,
    outcome_sender: oneshot::Sender<Result<T, WriteError<E>>>,
}

impl<T, E, D> PendingWrite<T, E, D> {
    pub fn new(decide: D) -> (Self, oneshot::Receiver<Result<T, WriteError<E>>>) {
        let (answer, outcome) = oneshot::channel();
        (Self { decide, outcome: None, last_try_records: Vec::new(), outcome_sender: answer }, outcome)
    }
}

impl<T, E, D> WriteRequest for PendingWrite<T, E, D>
where
    T: Send,
    E: Send,
    D: FnMut(&PendingDefinitions<'_>) -> Result<(Vec<LogRecord>, T), E> + Send,
{
    fn decide(&mut self, draft: &PendingDefinitions<'_>) -> Vec<LogRecord> {
        // The client no longer waits, and none of the records is written yet.
        if self.outcome_sender.is_closed() {
            return Vec::new();
        }
        // An earlier try was committed, and only its acknowledgement was lost.
        if !self.last_try_records.is_empty() && draft.already_match(&self.last_try_records) {
            return Vec::new();
        }
        let (records, decided) = match (self.decide)(draft) {
            Ok((records, outcome)) => (records, Ok(outcome)),
            Err(refused) => (Vec::new(), Err(refused)),
        };
        self.last_try_records = if draft.already_match(&records) { Vec::new() } else { records.clone() };
        self.outcome = Some(decided);
        records
    }

    fn send_outcome(self: Box<Self>, written: &Result<(), Arc<WriteFailure>>) {
        let answer = match (self.outcome, written) {
            // The refusal may depend on records of another request in the same transaction, which were not written.
            (_, Err(error)) => Err(WriteError::NotWritten(error.clone())),
            (Some(Err(refused)), Ok(())) => Err(WriteError::Refused(refused)),
            (Some(Ok(outcome)), Ok(())) => Ok(outcome),
            // Nothing was decided, because the client no longer waited.
            (None, Ok(())) => return,
        };
        // The client may have stopped waiting.
        let _ = self.outcome_sender.send(answer);
    }
}
