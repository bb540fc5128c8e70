//! A dead letter that may be redriven.

use bytes::Bytes;

use super::letter::{DeadLetter, DeadLetterKind};
use crate::kafka::topic_reader::Record;
use crate::settle::{InvalidCall, StoredCall};

/// A letter, with its call.
#[derive(Debug)]
pub struct RedriveCandidate {
    pub letter: DeadLetter,
    pub call: Result<StoredCall, InvalidCall>,
    pub body: Option<Bytes>,
}

impl RedriveCandidate {
    pub(super) fn read(record: &Record<'_>) -> Self {
        let header = |name: &str| Some(record.headers.iter().find(|(header, _)| *header == name)?.1);
        let letter = DeadLetter::read(record);
        let is_call = letter.kind == Some(DeadLetterKind::Call);
        let body = record.value.filter(|_| is_call).map(Bytes::copy_from_slice);
        Self { letter, call: StoredCall::parse_dead_letter(header), body }
    }
}
