//! `messages/{messageId}/resend`: sends a message again, whatever became of it. Ours.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::oauth::Caller;
use crate::id::{EventId, MessageId, WebhookId};
use crate::redelivery::NotResent;

/// What was sent again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Resent)]
pub(in super::super) struct ResendAnswer {
    /// To how many URLs.
    calls: usize,
}

/// Send a message again, to each URL that its webhook has now.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/messages/{messageId}/resend", tag = "Messages",
    operation_id = "resendMessage", params(("webhookId" = String, Path), ("messageId" = String, Path)),
    responses((status = 200, description = "It goes out again.", body = ResendAnswer)))]
pub(in super::super) async fn resend(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, message)): Path<(String, String)>,
) -> Result<Json<ResendAnswer>, ApiError> {
    let (account, definitions) = (caller.account.clone(), api.store.as_of());
    let (_, webhook) = api.messages_of(&webhook, caller)?;
    let place = "in the message log, or none among the newest of it";
    let missing = ApiError::not_found(format!("there is no message {message:?} of webhook {webhook} {place}"));
    let Ok(id) = message.parse::<MessageId>() else { return Err(missing) };
    let own = account.clone();
    let calls = api.reading(&account, async move |api: Arc<Api>| {
        let origin = api.message_log.find(&own, webhook, id).await?.ok_or(missing)?;
        api.check_active(webhook, origin.event)?;
        Ok(api.resend.one(&origin.place, origin.event, id, definitions).await?)
    });
    Ok(Json(ResendAnswer { calls: calls.await? }))
}

impl Api {
    /// Refuses what would be cancelled as soon as its turn comes.
    fn check_active(&self, webhook: WebhookId, event: EventId) -> Result<(), ApiError> {
        self.store.with(|definitions| {
            let trouble = match (definitions.webhook(webhook), definitions.event(event)) {
                (_, None) => format!("event {event}, which made the message, is deleted"),
                (Some(webhook), Some(_)) if !webhook.enabled => format!("webhook {} is not enabled", webhook.id),
                (_, Some(made)) if !made.enabled => format!("event {event}, which made the message, is not enabled"),
                _ => return Ok(()),
            };
            Err(ApiError::conflict(trouble))
        })
    }
}

impl From<NotResent> for ApiError {
    fn from(error: NotResent) -> Self {
        match error {
            NotResent::Read(error) => error.into(),
            NotResent::Unwritten(cause) => {
                // The text names brokers and topics, which are no API client's business.
                tracing::error!("a message could not be sent again as it should: {cause}");
                Self::unavailable("the message could not be written, though it may go out still: look, then try again")
            }
            error => Self::conflict(error.to_string()),
        }
    }
}
