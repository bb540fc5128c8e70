//! `outhook dead-letters show`: shows all of one letter.

use std::io::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use super::super::Terminal;
use super::list::search;
use super::{DeadLettersError, text};
use crate::api::DeadLetterWithBodyView;
use crate::dead_letters::{DeadLetterContent, DeadLetterFilter, DeadLetterId, DeadLetterReader};
use crate::id::MessageId;
use crate::redelivery::RedriveMarkers;

/// Max time to read one letter.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Max letters shown of one message: it has one for each URL that failed, and a webhook has at most 100 URLs.
const MAX_LETTERS_PER_MESSAGE: usize = 100;

/// Options of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of a dead letter, such as 2:1044, or of a message. A message's id shows all letters of the message.
    #[arg(value_name = "ID")]
    id: DeadLetterReference,
    /// Shows a webhook's secret in the body; otherwise it is whsec_….
    #[arg(long)]
    show_secrets: bool,
    /// Prints one JSON object per line, with the keys of the REST API.
    #[arg(long)]
    json: bool,
}

/// Id that selects letters.
#[derive(Debug, Clone, Copy)]
enum DeadLetterReference {
    Letter(DeadLetterId),
    Message(MessageId),
}

/// A text that is not the id of a dead letter or of a message.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a dead letter's id, such as 2:1044, nor a message's id, a UUID")]
struct BadLetterReference(String);

impl FromStr for DeadLetterReference {
    type Err = BadLetterReference;

    fn from_str(text: &str) -> Result<Self, BadLetterReference> {
        let letter = text.parse().map(Self::Letter);
        letter.or_else(|_| text.parse().map(Self::Message)).map_err(|_| BadLetterReference(text.to_owned()))
    }
}

pub(super) async fn run(args: &Args, letters: &DeadLetterReader, terminal: Terminal) -> Result<(), DeadLettersError> {
    let ids = match args.id {
        DeadLetterReference::Letter(id) => vec![id],
        DeadLetterReference::Message(message) => of_message(message, letters, terminal).await?,
    };
    for id in ids {
        let mut opened = letters.read_one(id, READ_TIMEOUT).await?.ok_or(DeadLettersError::NoLetter(id))?;
        let filter = DeadLetterFilter { message: opened.letter.message, ..DeadLetterFilter::default() };
        RedriveMarkers::for_letters(&filter)
            .set_redriven(std::slice::from_mut(&mut opened.letter), letters, READ_TIMEOUT)
            .await?;
        io::stdout().write_all(output_text(&opened, args).as_bytes())?;
    }
    Ok(())
}

async fn of_message(
    message: MessageId,
    letters: &DeadLetterReader,
    terminal: Terminal,
) -> Result<Vec<DeadLetterId>, DeadLettersError> {
    let filter = DeadLetterFilter { message: Some(message), ..DeadLetterFilter::default() };
    let found = search(filter, letters, terminal).read_all(MAX_LETTERS_PER_MESSAGE).await?;
    let ids: Vec<_> = found.iter().map(|letter| letter.id).collect();
    if ids.is_empty() { Err(DeadLettersError::NoMessage(message)) } else { Ok(ids) }
}

fn output_text(opened: &DeadLetterContent, args: &Args) -> String {
    if !args.json {
        return text::letter(opened, args.show_secrets);
    }
    let shown = DeadLetterWithBodyView::of(opened, args.show_secrets, usize::MAX);
    serde_json::to_string(&shown).expect("a letter has only texts and numbers") + "\n"
}
