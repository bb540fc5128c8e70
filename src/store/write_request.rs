//! A write that waits for its turn: a decision, and who waits for what comes of it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::writer::WriteFailure;
use crate::definition::{LogRecord, PendingDefinitions};

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// What was to be written may not be, as the definitions stand.
    #[error(transparent)]
    Refused(E),
    #[error("{0}")]
    Unwritten(Arc<WriteFailure>),
}

impl<E, U: Into<WriteFailure>> From<U> for WriteError<E> {
    fn from(error: U) -> Self {
        WriteError::Unwritten(Arc::new(error.into()))
    }
}

/// A write of any kind, as the writer sees it.
pub(in crate::store) trait Request: Send {
    /// The records to write, as things stand now. May be asked again, when a try was cut off.
    fn decide(&mut self, draft: &PendingDefinitions<'_>) -> Vec<LogRecord>;

    /// What was decided last is written, or is not.
    fn answer(self: Box<Self>, written: &Result<(), Arc<WriteFailure>>);
}

/// A write that `decide` decides on, and its outcome to be answered once it is written.
pub(in crate::store) struct Decision<T, E, D> {
    decide: D,
    decided: Option<Result<T, E>>,
    /// What the last try was to write, if it was not so already: to find it later says that the try went through.
    tell_tale: Vec<LogRecord>,
    answer: oneshot::Sender<Result<T, WriteError<E>>>,
}

impl<T, E, D> Decision<T, E, D> {
    pub fn new(decide: D) -> (Self, oneshot::Receiver<Result<T, WriteError<E>>>) {
        let (answer, outcome) = oneshot::channel();
        (Self { decide, decided: None, tell_tale: Vec::new(), answer }, outcome)
    }
}

impl<T, E, D> Request for Decision<T, E, D>
where
    T: Send,
    E: Send,
    D: FnMut(&PendingDefinitions<'_>) -> Result<(Vec<LogRecord>, T), E> + Send,
{
    fn decide(&mut self, draft: &PendingDefinitions<'_>) -> Vec<LogRecord> {
        // Nobody waits for it any more, and nothing of it is written yet.
        if self.answer.is_closed() {
            return Vec::new();
        }
        // An earlier try's commit went through, and only its answer was lost.
        if !self.tell_tale.is_empty() && draft.holds(&self.tell_tale) {
            return Vec::new();
        }
        let (records, decided) = match (self.decide)(draft) {
            Ok((records, outcome)) => (records, Ok(outcome)),
            Err(refused) => (Vec::new(), Err(refused)),
        };
        self.tell_tale = if draft.holds(&records) { Vec::new() } else { records.clone() };
        self.decided = Some(decided);
        records
    }

    fn answer(self: Box<Self>, written: &Result<(), Arc<WriteFailure>>) {
        let answer = match (self.decided, written) {
            // It may have been refused for what another was to write beside it, and was not.
            (_, Err(error)) => Err(WriteError::Unwritten(error.clone())),
            (Some(Err(refused)), Ok(())) => Err(WriteError::Refused(refused)),
            (Some(Ok(outcome)), Ok(())) => Ok(outcome),
            // Nothing was decided, because nobody waited.
            (None, Ok(())) => return,
        };
        // Whoever waited may have gone.
        let _ = self.answer.send(answer);
    }
}
