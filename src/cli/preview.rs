//! `outhook preview`: prints the messages that a row change sends, exactly as they would be sent.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::change::{self, ChangeError};
use super::definitions::LoadedDefinitions;
use super::text::lines;
use crate::config::Config;
use crate::decode::RowChange;
use crate::definition::Webhook;
use crate::id::EventId;
use crate::matching::{self, EventVerdict, Reason};
use crate::render::{self, BadAttachmentUrl, Message, Renderer, SamplePreviewError};

/// Prints the messages that a row change sends, without sending them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// YAML file with the definitions. Default: the definitions in Kafka.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only this event, even if the row change does not fire it. Events of a file have generated ids, which stay the
    /// same while the file does.
    #[arg(long, value_name = "ID")]
    pub event: Option<EventId>,
    /// Prints only the bodies, exactly as they are sent, one per line.
    #[arg(long)]
    pub raw: bool,
    /// Shows the webhook's secret in the message; otherwise it is whsec_….
    #[arg(long)]
    pub show_secrets: bool,
    #[command(flatten)]
    pub change: change::RecordArgs,
}

/// Why a message can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("render.attachment_url: {0}")]
    AttachmentUrl(#[from] BadAttachmentUrl),
    #[error("there is no event {0} in the change's account")]
    NoEvent(EventId),
    #[error("no event fires for this row change; `outhook explain` says why")]
    NoneFires,
    #[error("event {event}: {error}")]
    NoMessage { event: EventId, error: SamplePreviewError },
}

/// Returns the text that the command prints. The caller has loaded the definitions.
///
/// # Errors
/// The row change can't be read, the event does not exist, no event fires, or a definition is invalid.
pub fn run(args: &Args, config: Option<&Config>, loaded: &LoadedDefinitions) -> Result<String, PreviewError> {
    let attachment_url = config.and_then(|config| config.render.attachment_url.as_deref());
    let mut renderer = Renderer::new(attachment_url.map(str::parse).transpose()?);
    let shown = args.change.read(config, |change, _| text(change, loaded, args.event, args.raw, &mut renderer))??;
    // Raw output is not meant for a terminal.
    let mut shown = if args.raw { shown } else { lines(&shown) };
    if !args.show_secrets {
        for (webhook, _) in &loaded.events {
            shown = shown.replace(webhook.secret.expose(), "whsec_…");
        }
    }
    Ok(shown)
}

/// Formats the messages of one event, or of all events that fire.
///
/// # Errors
/// The event does not exist, no event fires, or a definition is invalid.
pub fn text(
    change: &RowChange<'_>,
    loaded: &LoadedDefinitions,
    only: Option<EventId>,
    raw: bool,
    renderer: &mut Renderer,
) -> Result<String, PreviewError> {
    let mut text = String::new();
    for (webhook, event) in &loaded.events {
        let Some(verdict) = matching::explain(change, [(webhook, event)]).pop() else { continue };
        let shown = only.map_or(verdict.fires(), |only| only == event.id);
        if shown {
            let table = loaded.definitions.table(&webhook.account, &event.object_name);
            let messages = render::preview(renderer, webhook, event, table, change, usize::MAX)
                .map_err(|error| PreviewError::NoMessage { event: event.id, error })?;
            if raw { write_raw(&messages, &mut text) } else { write_formatted(&verdict, webhook, &messages, &mut text) }
        }
    }
    match only {
        _ if !text.is_empty() => Ok(text),
        Some(event) => Err(PreviewError::NoEvent(event)),
        None => Err(PreviewError::NoneFires),
    }
}

fn write_raw(messages: &[Message], text: &mut String) {
    for message in messages {
        text.push_str(&String::from_utf8_lossy(&message.body));
        text.push('\n');
    }
}

fn write_formatted(verdict: &EventVerdict, webhook: &Webhook, messages: &[Message], text: &mut String) {
    const WRITES: &str = "writing to memory does not fail";
    writeln!(text, "event {} of webhook {} ({})", verdict.event, webhook.id, webhook.name).expect(WRITES);
    if !matches!(verdict.reason, Reason::Fires(_)) {
        writeln!(text, "not sent: {}", verdict.reason).expect(WRITES);
    }
    let mut shown = None;
    for message in messages {
        let url = &message.target.endpoints[message.endpoint].url;
        writeln!(text, "message {} to {url}, call {}", message.id, message.call_id).expect(WRITES);
        if shown != Some(&message.body) {
            writeln!(text, "{}", indented(&String::from_utf8_lossy(&message.body))).expect(WRITES);
            shown = Some(&message.body);
        }
    }
}

/// Indents JSON text. Only white space between tokens is added: every number and key stays as it is sent.
fn indented(json: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    for (at, character) in json.char_indices() {
        if in_string {
            out.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        let empty = json[at + 1..].starts_with(['}', ']']);
        match character {
            '{' | '[' if !empty => {
                depth += 1;
                out.push(character);
                new_line(&mut out, depth);
            }
            '}' | ']' if !json[..at].ends_with(['{', '[']) => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(character);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = character == '"';
                out.push(character);
            }
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    // Deeper indentation does not help the reader, and would be longer than the text.
    out.push_str(&"  ".repeat(depth.min(40)));
}
