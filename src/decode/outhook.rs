//! The `outhook` format: plain JSON for producers that write their own.

use super::{DecodeError, Decoded, Decoder, Input};

pub(super) fn decode<'a>(_decoder: &mut Decoder, _input: &Input<'a>) -> Result<Decoded<'a>, DecodeError> {
    todo!()
}
