//! The Debezium envelope, with and without its schema.

use super::{DecodeError, Decoded, Decoder, Input};

pub(super) fn decode<'a>(_decoder: &mut Decoder, _input: &Input<'a>) -> Result<Decoded<'a>, DecodeError> {
    todo!()
}
