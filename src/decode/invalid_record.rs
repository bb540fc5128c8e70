//! Why the text of a record is not a row change in its source's format.

use super::wire::InvalidText;
use crate::vocabulary::Operation;

/// Why a text can't be decoded. It becomes the reason of a [`DecodeError`](super::DecodeError).
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidRecord {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A required key. `rule` follows "it must".
    #[error("`{key}` is missing: it must {rule}")]
    Missing { key: &'static str, rule: &'static str },
    #[error("`{key}` is empty: it must {rule}")]
    Empty { key: &'static str, rule: &'static str },
    /// A text that is not one of the key's values.
    #[error("`{key}` is {text:?}: it must {rule}")]
    UnknownText { key: &'static str, text: String, rule: &'static str },
    /// The change lacks the row that its messages would send.
    #[error("{}", missing_row(*.0))]
    MissingRow(Operation),
    /// Without the fields of the record's key, the row of a delete can't be trusted. Contains the reason if the key
    /// is not text.
    #[error(
        "the record's key is not a JSON object{}, so it is unknown which values of the deleted row are real: write the \
         connector's keys with JsonConverter, or set rows = \"whole\" if its tables are sent whole",
        in_brackets(*.0)
    )]
    KeyWithoutFields(Option<InvalidText>),
    /// A record of a Debezium connector whose `before` and `after` are not rows, with its name.
    #[error("{0}")]
    UnsupportedConnector(&'static str),
}

fn missing_row(operation: Operation) -> String {
    match operation {
        Operation::Insert | Operation::Update => format!("`after` is missing: an {operation} needs the new row"),
        Operation::Delete => "`before` is missing: a delete needs the deleted row".to_owned(),
    }
}

fn in_brackets(reason: Option<InvalidText>) -> String {
    reason.map_or(String::new(), |reason| format!(" ({reason})"))
}
