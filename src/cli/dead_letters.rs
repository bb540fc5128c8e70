//! `outhook dead-letters`: what was given up, and why; and how it goes out again.

mod list;
mod redrive;
mod show;
mod text;

use std::io;
use std::process::ExitCode;

use super::Terminal;
use crate::config::Config;
use crate::dead_letters::{LetterId, Letters};
use crate::id::MessageId;
use crate::kafka::topic_reader;
use crate::redelivery::Redrive;
use crate::store::{self, StoreError};

/// Says what was given up, and why, and sends it out again.
///
/// A call becomes a dead letter when its last attempt has failed; a record, when no message can be made of it. Each
/// has an id: the partition and the offset where it stands in dead_letters.topic.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLetters {
    /// Prints dead letters, the newest first.
    List(Box<list::Args>),
    /// Prints all that one dead letter holds.
    Show(show::Args),
    /// Sends dead letters out again: each with its message id and its body, as if it had never been tried.
    Redrive(Box<redrive::Args>),
}

/// Why dead letters were not printed, or not sent out again.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    #[error(transparent)]
    Read(#[from] topic_reader::Error),
    #[error(transparent)]
    Definitions(#[from] StoreError),
    #[error(
        "there is no dead letter {0}: the topic's retention may have deleted it; `outhook dead-letters list` names \
         those that there are"
    )]
    NoLetter(LetterId),
    #[error("there is no dead letter of message {0}: it was delivered, or waits for a retry, or its letter is deleted")]
    NoMessage(MessageId),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

/// # Errors
/// The topic can't be read, or what is to be shown is not there.
pub(super) async fn run(
    command: DeadLetters,
    config: &Config,
    terminal: Terminal,
) -> Result<ExitCode, DeadLettersError> {
    let kafka = config.kafka.client();
    let letters = Letters::new(&config.dead_letters, &kafka);
    match command {
        DeadLetters::List(args) => list::run(*args, &letters, terminal).await?,
        DeadLetters::Show(args) => show::run(&args, &letters, terminal).await?,
        DeadLetters::Redrive(args) => {
            let definitions = store::end(&config.definitions, &kafka).await?;
            let redrive = Redrive::new(&config.dead_letters, &config.retries, &kafka);
            return redrive::run(*args, (&letters, &redrive), definitions, terminal).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}
