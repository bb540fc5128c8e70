//! Preview of the messages of a definition for a row change, whether it fires or not.

use std::sync::Arc;

use super::{Message, Renderer, TooLarge};
use crate::decode::RowChange;
use crate::definition::{Event, Table, Webhook};
use crate::rules::{CompileError, Rule, Target};

/// Why there is no message to preview.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SamplePreviewError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The messages, one for each URL of the webhook, up to a total size of `most_bytes`. The first one is always
/// included. `table` is the declaration of the event's table, if there is one.
///
/// # Errors
/// The definition can't be compiled, or the message is too large.
pub fn preview(
    renderer: &mut Renderer,
    webhook: &Webhook,
    event: &Event,
    table: Option<&Table>,
    change: &RowChange<'_>,
    most_bytes: usize,
) -> Result<Vec<Message>, SamplePreviewError> {
    let rule = Rule::compile_on(table, webhook, event, &Arc::new(Target::of(webhook)?))?;
    let (mut messages, mut bytes) = (Vec::new(), 0_usize);
    for message in renderer.render(&rule, change) {
        let message: Message = message?;
        bytes = bytes.saturating_add(message.body.len());
        if bytes > most_bytes && !messages.is_empty() {
            break;
        }
        messages.push(message);
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{row, update};
    use super::*;
    use crate::definition::{Payload, samples};
    use crate::vocabulary::Operation;

    #[test]
    fn preview_is_limited_in_bytes_except_the_first_message() {
        let urls = (0..100).map(|number| format!("https://{number}.example/")).collect();
        let webhook = Webhook { urls, ..samples::webhook("whk001", "CRM") };
        let payload = Payload::Template("{'text':'[@field:Text]'}".to_owned());
        let event = Event { payload, ..samples::event("4040va", "whk001", Operation::Update, "MyCustomers", &[]) };
        let text = format!("\"{}\"", "x".repeat(10_000));
        let change = update(row(&[("Text", &text)]));
        let shown =
            |most_bytes| preview(&mut Renderer::default(), &webhook, &event, None, &change, most_bytes).unwrap().len();
        assert_eq!((shown(usize::MAX), shown(55_000), shown(0)), (100, 5, 1));
    }
}
