//! `outhook messages show`: shows a message with all of its attempts.

use std::io::{self, Write as _};

use super::super::Terminal;
use super::{AttemptPages, MessagesError, text};
use crate::api::MessageView;
use crate::id::MessageId;
use crate::message_log::MessageLogReader;

/// Max attempts shown: as many as 100 URLs can have.
const MAX_ATTEMPTS: usize = 5_000;

/// Options of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the message: the webhook-id that its receiver gets.
    #[arg(value_name = "ID")]
    id: MessageId,
    /// Prints one JSON object with the keys of the REST API.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, log: &MessageLogReader, terminal: Terminal) -> Result<(), MessagesError> {
    let mut search = AttemptPages::of(args.id, log, terminal);
    let entries = search.read_all(MAX_ATTEMPTS).await?;
    let missing = || MessagesError::NoMessage(args.id);
    let shown = if args.json {
        let shown = MessageView::of(entries, search.is_at_end()).ok_or_else(missing)?;
        serde_json::to_string(&shown).expect("a message has only texts and numbers") + "\n"
    } else {
        text::message(entries).ok_or_else(missing)?
    };
    Ok(io::stdout().write_all(shown.as_bytes())?)
}
