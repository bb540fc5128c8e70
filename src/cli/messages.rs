//! `outhook messages`: what became of what was sent, and how it goes out again.

mod list;
mod resend;
mod show;
mod text;

use std::io;
use std::process::ExitCode;

use super::Terminal;
use super::listing::{PagedSearch, Pages};
use crate::config::Config;
use crate::id::MessageId;
use crate::kafka::topic_reader::{self, Bounds, Page, TopicCursor};
use crate::message_log::{EntryFilter, LogEntry, MessageLog};
use crate::store::StoreError;

/// Says what became of every message, attempt by attempt, and sends messages again.
///
/// Instances write an entry for each attempt to message_log.topic, and one for a call that ended without any. A
/// message's id is what its receiver gets as webhook-id.
#[derive(Debug, clap::Subcommand)]
pub enum Messages {
    /// Prints messages by URL, each with its newest attempt, the newest first.
    List(Box<list::Args>),
    /// Prints all attempts of a message: what was dialled, what was answered, how long it took.
    Show(show::Args),
    /// Sends messages again, whatever became of them: each to the URLs that its webhook has now.
    Resend(resend::Args),
}

/// Why messages were not printed, or none was sent again.
#[derive(Debug, thiserror::Error)]
pub enum MessagesError {
    #[error(transparent)]
    Read(#[from] topic_reader::Error),
    #[error(transparent)]
    Definitions(#[from] StoreError),
    #[error("there is no message log: message_log.level is off in this configuration")]
    Off,
    #[error(
        "there is no message {0} in the message log: the topic's retention may have deleted it, or message_log.level \
         leaves it out"
    )]
    NoMessage(MessageId),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

/// # Errors
/// The topic can't be read, or what is to be shown is not there.
pub(super) async fn run(command: Messages, config: &Config, terminal: Terminal) -> Result<ExitCode, MessagesError> {
    let log = MessageLog::new(&config.message_log, &config.kafka.client());
    if !log.is_written() {
        return Err(MessagesError::Off);
    }
    match command {
        Messages::List(args) => list::run(*args, &log, terminal).await?,
        Messages::Show(args) => show::run(args, &log, terminal).await?,
        Messages::Resend(args) => return resend::run(args, &log, config, terminal).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// All attempts that are meant.
struct Attempts<'l> {
    filter: EntryFilter,
    log: &'l MessageLog,
}

impl<'l> Attempts<'l> {
    /// Those of one message.
    fn of(message: MessageId, log: &'l MessageLog, terminal: Terminal) -> PagedSearch<Self> {
        let filter = EntryFilter { message: Some(message), ..EntryFilter::default() };
        PagedSearch::new(Self { filter, log }, terminal)
    }
}

impl Pages for Attempts<'_> {
    type Found = LogEntry;

    async fn page(&mut self, from: Option<TopicCursor>, bounds: Bounds) -> Result<Page<LogEntry>, topic_reader::Error> {
        self.log.page(self.filter.clone(), from, bounds).await
    }
}
