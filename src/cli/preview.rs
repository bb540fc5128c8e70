//! `outhook preview`: the message that a definition sends for a row change, exactly as it would go out.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::change::{self, ChangeError};
use super::definitions::Loaded;
use super::text::lines;
use crate::config::Config;
use crate::decode::RowChange;
use crate::definition::Webhook;
use crate::id::EventId;
use crate::matching::{self, EventVerdict, Reason};
use crate::render::{self, BadAttachmentUrl, Message, NoPreview, Renderer};

/// Print the message that a definition sends for a row change.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with the definitions (YAML); without it those in Kafka are used.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only this event, and also when the row change does not fire it. Events of a file have made-up ids, the same as
    /// long as the file is.
    #[arg(long, value_name = "ID")]
    pub event: Option<EventId>,
    /// Print the bodies alone and as they are sent, one a line.
    #[arg(long)]
    pub raw: bool,
    /// Show the webhook's secret where the message holds it; without this option it is whsec_….
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
    #[error("no definition fires for this row change; `outhook explain` says why")]
    NoneFires,
    #[error("event {event}: {error}")]
    NoMessage { event: EventId, error: NoPreview },
}

/// The text that the command prints; the caller has loaded the definitions.
///
/// # Errors
/// There is no row change, no such event, nothing fires, or a definition is wrong.
pub fn run(args: &Args, config: Option<&Config>, loaded: &Loaded) -> Result<String, PreviewError> {
    let attachment_url = config.and_then(|config| config.render.attachment_url.as_deref());
    let mut renderer = Renderer::new(attachment_url.map(str::parse).transpose()?);
    let shown = args.change.read(config, |change, _| text(change, loaded, args.event, args.raw, &mut renderer))??;
    // What is raw is meant for no terminal.
    let mut shown = if args.raw { shown } else { lines(&shown) };
    if !args.show_secrets {
        for (webhook, _) in &loaded.events {
            shown = shown.replace(webhook.secret.expose(), "whsec_…");
        }
    }
    Ok(shown)
}

/// The messages of one event, or of all that fire.
///
/// # Errors
/// No such event, nothing fires, or a definition is wrong.
pub fn text(
    change: &RowChange<'_>,
    loaded: &Loaded,
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
            if raw { write_raw(&messages, &mut text) } else { write_shown(&verdict, webhook, &messages, &mut text) }
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

fn write_shown(verdict: &EventVerdict, webhook: &Webhook, messages: &[Message], text: &mut String) {
    const WRITES: &str = "writing to memory does not fail";
    writeln!(text, "event {} of webhook {} ({})", verdict.event, webhook.id, webhook.name).expect(WRITES);
    if !matches!(verdict.reason, Reason::Fires(_)) {
        writeln!(text, "not sent: {}", verdict.reason).expect(WRITES);
    }
    let mut shown = None;
    for message in messages {
        let url = &message.target.endpoints[message.endpoint].url;
        writeln!(text, "message {} to {url}, call {}", message.id, message.call).expect(WRITES);
        if shown != Some(&message.body) {
            writeln!(text, "{}", indented(&String::from_utf8_lossy(&message.body))).expect(WRITES);
            shown = Some(&message.body);
        }
    }
}

/// JSON text over several lines; nothing but white space between its tokens is added, so that every number
/// and key stays as it is sent.
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
    // Deeper levels are no easier to read for their white space, of which there would be more than text.
    out.push_str(&"  ".repeat(depth.min(40)));
}
