//! `outhook dead-letters`: lists, shows and redrives dead letters.

mod list;
mod redrive;
mod show;
mod text;

use std::io;
use std::process::ExitCode;

use super::Terminal;
use crate::config::Config;
use crate::dead_letters::{DeadLetterId, DeadLetterReader};
use crate::id::MessageId;
use crate::kafka::topic_reader;
use crate::redelivery::Redriver;
use crate::store::{self, StoreError};

/// Shows dead letters and their causes, and sends them again.
///
/// A call becomes a dead letter when its last attempt has failed. A record becomes one when no message can be made of
/// it. The id of a dead letter is its partition and offset in dead_letters.topic, such as 2:1044.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLetters {
    /// Lists dead letters, newest first.
    List(Box<list::Args>),
    /// Shows one dead letter with its cause and its body.
    Show(show::Args),
    /// Sends dead letters again, each with its message id, its body and the whole retry schedule.
    Redrive(Box<redrive::Args>),
}

/// Why dead letters were not printed, or not redriven.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    #[error(transparent)]
    Read(#[from] topic_reader::Error),
    #[error(transparent)]
    Definitions(#[from] StoreError),
    #[error(
        "there is no dead letter {0}: the topic's retention may have deleted it; `outhook dead-letters list` shows \
         the existing ones"
    )]
    NoLetter(DeadLetterId),
    #[error(
        "there is no dead letter of message {0}: it was delivered, it waits for a retry, or its letter was deleted"
    )]
    NoMessage(MessageId),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

/// # Errors
/// The topic can't be read, or the letter does not exist.
pub(super) async fn run(
    command: DeadLetters,
    config: &Config,
    terminal: Terminal,
) -> Result<ExitCode, DeadLettersError> {
    let kafka = config.kafka.client();
    let letters = DeadLetterReader::new(&config.dead_letters, &kafka);
    match command {
        DeadLetters::List(args) => list::run(*args, &letters, terminal).await?,
        DeadLetters::Show(args) => show::run(&args, &letters, terminal).await?,
        DeadLetters::Redrive(args) => {
            let definitions = store::end(&config.definitions, &kafka).await?;
            let redrive = Redriver::new(&config.dead_letters, &config.retries, &kafka);
            return redrive::run(*args, &letters, &redrive, definitions, terminal).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}
