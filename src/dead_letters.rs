//! Reads the dead-letter topic: the contents of letters, filters, and the calls that can be redriven. `settle` writes
//! the letters.

mod candidate;
mod letter;
mod reader;

pub use self::candidate::RedriveCandidate;
pub use self::letter::{
    BadLetterId, BadUrlPrefix, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterKind, UnknownLetterKind, UrlPrefix,
};
pub use self::reader::{DeadLetterContent, DeadLetterReader};
