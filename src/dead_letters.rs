//! Reads the dead-letter topic: the contents of letters, filters, and the calls that can be redriven. `settle` writes
//! the letters.

mod candidate;
mod letter;
mod reader;

pub use self::candidate::Candidate;
pub use self::letter::{
    BadLetterId, BadUrlPrefix, Letter, LetterFilter, LetterId, LetterKind, UnknownLetterKind, UrlPrefix,
};
pub use self::reader::{Letters, OpenedLetter};
