//! What a definition sends for a row change, whether it fires or not.

use std::sync::Arc;

use super::{Message, Renderer, TooLarge};
use crate::decode::RowChange;
use crate::definition::{Event, Table, Webhook};
use crate::matching::{CompileError, Rule, Target};

/// Why there is no message to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPreview {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The messages, one for each URL of the webhook. `table` is the declaration of the event's table, if there is one.
///
/// # Errors
/// The definition can't be made ready to fire, or the message is too large.
pub fn preview(
    renderer: &mut Renderer,
    webhook: &Webhook,
    event: &Event,
    table: Option<&Table>,
    change: &RowChange<'_>,
) -> Result<Vec<Message>, NoPreview> {
    let rule = Rule::compile_on(table, webhook, event, &Arc::new(Target::of(webhook)?))?;
    let messages: Result<_, TooLarge> = renderer.render(&rule, change).collect();
    Ok(messages?)
}
