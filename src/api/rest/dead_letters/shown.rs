//! Dead letters as the API answers them, and as the command line prints them as JSON.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::dead_letters::{Letter, LetterKind, OpenedLetter};
use crate::definition::without_secrets;

/// What was given up, and why. What is not known of it is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = DeadLetter)]
pub struct LetterShown {
    /// Where it stands in the topic of dead letters.
    #[schema(pattern = "^[0-9]+:[0-9]+$", example = "2:1044")]
    id: String,
    /// When it was written there.
    #[schema(format = DateTime)]
    written: String,
    /// call, of one message to one URL; or record, of which the message could not be made.
    #[schema(required, example = "call")]
    kind: Option<&'static str>,
    /// How the last attempt ended: status_5xx, timeout, gone and so on.
    #[schema(required, example = "status_5xx")]
    class: Option<String>,
    /// The same in words.
    #[schema(required)]
    cause: Option<String>,
    #[schema(required)]
    account: Option<String>,
    #[schema(required)]
    webhook_id: Option<String>,
    #[schema(required)]
    event_id: Option<String>,
    /// What the receiver gets as webhook-id.
    #[schema(required)]
    message_id: Option<String>,
    #[schema(required)]
    call_id: Option<String>,
    #[schema(required)]
    url: Option<String>,
    #[schema(required)]
    event_date: Option<String>,
    #[schema(required)]
    sequence: Option<String>,
    /// How many attempts were made.
    #[schema(required)]
    attempts: Option<u32>,
    /// The status of the last answer.
    #[schema(required)]
    status: Option<u16>,
    /// When the call was first queued.
    #[schema(required, format = DateTime)]
    offered: Option<String>,
    /// When it was given up.
    #[schema(required, format = DateTime)]
    ended: Option<String>,
    /// Where the row change's record stands.
    #[schema(required)]
    topic: Option<String>,
    #[schema(required)]
    partition: Option<i32>,
    #[schema(required)]
    offset: Option<i64>,
    /// How many bytes the body has; null if there is none.
    #[schema(required)]
    body_bytes: Option<u64>,
    /// How many bytes the body had that the topic did not take.
    #[schema(required)]
    body_left_out: Option<u64>,
    /// When it was last sent out again. Null too if that could not be found out in a few seconds.
    #[schema(required, format = DateTime)]
    redriven: Option<String>,
}

/// A dead letter with its body.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = DeadLetterWithBody)]
pub struct OpenedShown {
    #[serde(flatten)]
    letter: LetterShown,
    /// The body that was to be sent, or the value of the record, as text; a webhook's secret in it is shown as
    /// whsec_….
    #[schema(required)]
    body: Option<String>,
    /// Whether the body is longer than what is shown: 1 MiB.
    body_cut: bool,
}

impl LetterShown {
    pub fn of(letter: &Letter) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            id: letter.id.to_string(),
            written: letter.written.to_string(),
            kind: letter.kind.map(LetterKind::as_str),
            class: letter.class.clone(),
            cause: letter.cause.clone(),
            account: letter.account.as_ref().map(ToString::to_string),
            webhook_id: letter.webhook.map(String::from),
            event_id: letter.event.map(String::from),
            message_id: letter.message.map(|id| id.to_string()),
            call_id: letter.call.map(|id| id.to_string()),
            url: letter.url.clone(),
            event_date: letter.event_date.clone(),
            sequence: letter.sequence.clone(),
            attempts: letter.attempts,
            status: letter.status,
            offered: text(letter.offered),
            ended: text(letter.ended),
            topic: letter.topic.clone(),
            partition: letter.partition,
            offset: letter.offset,
            body_bytes: letter.bytes.map(|bytes| bytes as u64),
            body_left_out: letter.value_left_out,
            redriven: text(letter.redriven),
        }
    }
}

impl OpenedShown {
    /// Up to so many bytes of the body. What of it is no UTF-8 is shown as �.
    pub fn of(opened: &OpenedLetter, show_secrets: bool, max_body: usize) -> Self {
        let value = opened.value.as_deref();
        let text = value.map(|value| {
            let text = String::from_utf8_lossy(value);
            // A secret is hidden before the text is cut, so that no half of one is left.
            let mut text = if show_secrets { text.into_owned() } else { without_secrets(&text).into_owned() };
            let cut = text.len() > max_body;
            if cut {
                let end = (0..=max_body).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                text.truncate(end);
            }
            (text, cut)
        });
        let (body, body_cut) = text.map_or((None, false), |(text, cut)| (Some(text), cut));
        Self { letter: LetterShown::of(&opened.letter), body, body_cut }
    }
}
