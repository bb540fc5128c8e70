//! `outhook messages resend`: sends messages again, and reports the result of each.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::super::Terminal;
use super::super::replay::{EventSelectorArgs, source};
use super::super::text::printable;
use super::{AttemptPages, MessagesError};
use crate::config::Config;
use crate::decode::{self, Decoder, WholeTables};
use crate::definition::Definitions;
use crate::id::MessageId;
use crate::message_log::{LogEntry, MessageLogReader};
use crate::pipeline;
use crate::redelivery::Resender;
use crate::redelivery::replay::ReplayFactory;
use crate::render::{AttachmentUrl, Renderer};
use crate::store;

/// Options of the resend.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook messages list --webhook 3f0zq9 --since 2h
  outhook messages resend 5e0a3c1e-93d1-8e7b-9f0c-1d2e3f405162

The command reads the message's row change from its topic again, and makes the
message by the current definition of its event, with the same message id.
Running instances send it with the whole retry schedule.

A dead letter still has its body: send it with outhook dead-letters redrive.
To send all messages of a range again: outhook replay.")]
pub struct Args {
    /// Ids of the messages: the webhook-id that their receivers got.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<MessageId>,
    /// Prints one JSON object per message.
    #[arg(long)]
    json: bool,
}

/// Configuration and definitions for a resend.
struct ResendSession<'c> {
    config: &'c Config,
    definitions: Definitions,
    /// End offset of the definitions topic.
    definitions_offset: i64,
}

pub(super) async fn run(
    args: Args,
    log: &MessageLogReader,
    config: &Config,
    terminal: Terminal,
) -> Result<ExitCode, MessagesError> {
    let (definitions, as_of) = store::read_with_end(&config.definitions, &config.kafka.client()).await?;
    let sending = ResendSession { config, definitions, definitions_offset: as_of };
    let mut exit = ExitCode::SUCCESS;
    for id in args.ids {
        let newest = AttemptPages::of(id, log, terminal).read_all(1).await?.pop();
        let sent = match newest {
            Some(newest) => sending.send(&newest).await,
            None => Err(MessagesError::NoMessage(id).into()),
        };
        if sent.is_err() {
            exit = ExitCode::FAILURE;
        }
        writeln!(io::stdout(), "{}", result_text(id, sent, args.json))?;
    }
    Ok(exit)
}

impl ResendSession<'_> {
    /// Sends the message of this entry, and returns the number of its URLs.
    async fn send(&self, entry: &LogEntry) -> Result<usize, Box<dyn Error>> {
        let event = EventSelectorArgs { event: vec![entry.event], ..EventSelectorArgs::default() };
        let mut chosen = event.select(&self.definitions)?;
        if let Some(Err(reason)) = chosen.events.remove(&entry.event) {
            return Err(format!("event {}: {reason}", entry.event).into());
        }
        let settings = Arc::<decode::Settings>::from(source(&entry.source.topic, self.config)?.settings());
        let attachment_url: Option<AttachmentUrl> =
            self.config.render.attachment_url.as_deref().map(str::parse).transpose()?;
        let stages: ReplayFactory = Box::new(move |_| {
            let decoder = Decoder::new(settings.clone(), WholeTables::default());
            Some(pipeline::ReplayStages::new(decoder, chosen.index.clone(), Renderer::new(attachment_url.clone())))
        });
        let resend = Resender::new(stages, &self.config.retries, &self.config.kafka.client());
        Ok(resend.resend(&entry.source, entry.event, entry.message, self.definitions_offset).await?)
    }
}

fn result_text(id: MessageId, sent: Result<usize, Box<dyn Error>>, as_json: bool) -> String {
    match sent {
        Ok(calls) if as_json => json!({"MessageId": id.to_string(), "Calls": calls, "Reason": null}).to_string(),
        Err(reason) if as_json => {
            json!({"MessageId": id.to_string(), "Calls": 0, "Reason": reason.to_string()}).to_string()
        }
        Ok(1) => format!("{id}  sent again to its URL"),
        Ok(calls) => format!("{id}  sent again to {calls} URLs"),
        Err(reason) => format!("{id}  skipped: {}", printable(&reason.to_string())),
    }
}
