//! The topic of dead letters, read: what a letter says, which letters a filter takes, and the calls that can be sent
//! again. `settle` writes them.

mod candidate;
mod letter;
mod reader;

pub use self::candidate::Candidate;
pub use self::letter::{BadLetterId, Letter, LetterFilter, LetterId, LetterKind, UrlPrefix};
pub use self::reader::{Letters, OpenedLetter};
