//! `outhook messages`: lists, shows and resends logged messages.

mod list;
mod resend;
mod show;
mod text;

use std::io;
use std::process::ExitCode;

use super::Terminal;
use super::listing::{PageSource, PagedSearch};
use crate::config::Config;
use crate::id::MessageId;
use crate::kafka::topic_reader::{self, Page, PageLimits, TopicCursor};
use crate::message_log::{EntryFilter, LogEntry, MessageLogReader};
use crate::store::StoreError;

/// Shows the attempts of each message and their results, and sends messages again.
///
/// Instances write an entry for each attempt to message_log.topic, and one for a call that ended without any attempt.
/// The id of a message is the webhook-id that its receiver gets.
#[derive(Debug, clap::Subcommand)]
pub enum Messages {
    /// Lists messages by URL, each with its newest attempt, newest first.
    List(Box<list::Args>),
    /// Shows all attempts of a message: address, response and duration of each.
    Show(show::Args),
    /// Sends messages again, whatever their status, to the current URLs of their webhooks.
    Resend(resend::Args),
}

/// Why messages were not printed or resent.
#[derive(Debug, thiserror::Error)]
pub enum MessagesError {
    #[error(transparent)]
    Read(#[from] topic_reader::Error),
    #[error(transparent)]
    Definitions(#[from] StoreError),
    #[error("there is no message log: message_log.level is off in this configuration")]
    LogDisabled,
    #[error(
        "there is no message {0} in the message log: the topic's retention may have deleted it, or message_log.level \
         excludes it"
    )]
    NoMessage(MessageId),
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

/// # Errors
/// The topic can't be read, the message log is off, or the message does not exist.
pub(super) async fn run(command: Messages, config: &Config, terminal: Terminal) -> Result<ExitCode, MessagesError> {
    let log = MessageLogReader::new(&config.message_log, &config.kafka.client());
    if !log.is_written() {
        return Err(MessagesError::LogDisabled);
    }
    match command {
        Messages::List(args) => list::run(*args, &log, terminal).await?,
        Messages::Show(args) => show::run(args, &log, terminal).await?,
        Messages::Resend(args) => return resend::run(args, &log, config, terminal).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Pages of matching attempts.
struct AttemptPages<'l> {
    filter: EntryFilter,
    reader: &'l MessageLogReader,
}

impl<'l> AttemptPages<'l> {
    /// Attempts of one message.
    fn of(message: MessageId, log: &'l MessageLogReader, terminal: Terminal) -> PagedSearch<Self> {
        let filter = EntryFilter { message: Some(message), ..EntryFilter::default() };
        PagedSearch::new(Self { filter, reader: log }, terminal)
    }
}

impl PageSource for AttemptPages<'_> {
    type Found = LogEntry;

    async fn page(
        &mut self,
        from: Option<TopicCursor>,
        bounds: PageLimits,
    ) -> Result<Page<LogEntry>, topic_reader::Error> {
        self.reader.page(self.filter.clone(), from, bounds).await
    }
}
