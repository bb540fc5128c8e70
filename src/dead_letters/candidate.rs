//! A dead letter that may be redriven.

use bytes::Bytes;

use super::letter::{Letter, LetterKind};
use crate::kafka::topic_reader::Record;
use crate::settle::{InvalidCall, StoredCall};

/// A letter, with its call.
#[derive(Debug)]
pub struct Candidate {
    pub letter: Letter,
    pub call: Result<StoredCall, InvalidCall>,
    pub body: Option<Bytes>,
}

impl Candidate {
    pub(super) fn read(record: &Record<'_>) -> Self {
        let header = |name: &str| Some(record.headers.iter().find(|(header, _)| *header == name)?.1);
        let letter = Letter::read(record);
        let is_call = letter.kind == Some(LetterKind::Call);
        let body = record.value.filter(|_| is_call).map(Bytes::copy_from_slice);
        Self { letter, call: StoredCall::of_letter(header), body }
    }
}
