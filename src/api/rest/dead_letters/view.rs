//! JSON form of dead letters, for the API and for the commands.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::dead_letters::{DeadLetter, DeadLetterContent, DeadLetterKind};
use crate::definition::redact_secrets;

/// A dead letter with its cause. Unknown values are null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = DeadLetter)]
pub struct DeadLetterView {
    /// Its partition and offset in the dead-letter topic.
    #[schema(pattern = "^[0-9]+:[0-9]+$", example = "2:1044")]
    id: String,
    /// When it was written to that topic.
    #[schema(format = DateTime)]
    written: String,
    /// call: one message to one URL. record: an input record that could not be processed.
    #[schema(required, example = "call")]
    kind: Option<&'static str>,
    /// Result of the last attempt: status_5xx, timeout, gone and so on.
    #[schema(required, example = "status_5xx")]
    class: Option<String>,
    /// The cause in words.
    #[schema(required)]
    cause: Option<String>,
    #[schema(required)]
    account: Option<String>,
    #[schema(required)]
    webhook_id: Option<String>,
    #[schema(required)]
    event_id: Option<String>,
    /// The message's id; receivers get it as webhook-id.
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
    /// Number of attempts made.
    #[schema(required)]
    attempts: Option<u32>,
    /// HTTP status of the last response.
    #[schema(required)]
    status: Option<u16>,
    /// When the call was first queued.
    #[schema(required, format = DateTime)]
    offered: Option<String>,
    /// When the retries ended.
    #[schema(required, format = DateTime)]
    ended: Option<String>,
    /// Topic of the row change's record; Partition and Offset are of that record too.
    #[schema(required)]
    topic: Option<String>,
    #[schema(required)]
    partition: Option<i32>,
    #[schema(required)]
    offset: Option<i64>,
    /// Size of the body in bytes; null if there is none.
    #[schema(required)]
    body_bytes: Option<u64>,
    /// Size in bytes of a body that was omitted because the topic did not accept it.
    #[schema(required)]
    body_left_out: Option<u64>,
    /// When it was last redriven. Null too if that could not be determined within 5 seconds.
    #[schema(required, format = DateTime)]
    redriven: Option<String>,
}

/// A dead letter with its body.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = DeadLetterWithBody)]
pub struct DeadLetterWithBodyView {
    #[serde(flatten)]
    letter: DeadLetterView,
    /// The body that was to be sent, or the value of the record, as text. A webhook's secret in it is shown as
    /// whsec_….
    #[schema(required)]
    body: Option<String>,
    /// Whether Body is cut: it shows at most 1 MiB.
    body_cut: bool,
}

impl DeadLetterView {
    pub fn of(letter: &DeadLetter) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            id: letter.id.to_string(),
            written: letter.written_at.to_string(),
            kind: letter.kind.map(DeadLetterKind::as_str),
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
            offered: text(letter.first_due),
            ended: text(letter.ended_at),
            topic: letter.topic.clone(),
            partition: letter.partition,
            offset: letter.offset,
            body_bytes: letter.bytes.map(|bytes| bytes as u64),
            body_left_out: letter.dropped_value_bytes,
            redriven: text(letter.redriven_at),
        }
    }
}

impl DeadLetterWithBodyView {
    /// Shows up to `max_body` bytes of the body. Bytes that are not UTF-8 are shown as �.
    pub fn of(opened: &DeadLetterContent, show_secrets: bool, max_body: usize) -> Self {
        let value = opened.value.as_deref();
        let text = value.map(|value| {
            let text = String::from_utf8_lossy(value);
            // Hide secrets before the text is cut: a cut secret would not be recognized.
            let mut text = if show_secrets { text.into_owned() } else { redact_secrets(&text).into_owned() };
            let cut = text.len() > max_body;
            if cut {
                let end = (0..=max_body).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                text.truncate(end);
            }
            (text, cut)
        });
        let (body, body_cut) = text.map_or((None, false), |(text, cut)| (Some(text), cut));
        Self { letter: DeadLetterView::of(&opened.letter), body, body_cut }
    }
}
