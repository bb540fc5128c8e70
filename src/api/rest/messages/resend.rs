//! `messages/{messageId}/resend`: sends a message again, whatever its status. Our extension.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::oauth::Caller;
use crate::id::{EventId, MessageId, WebhookId};
use crate::redelivery::ResendError;

/// Result of a resend.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Resent)]
pub(in super::super) struct ResendResponse {
    /// Number of calls: one for each URL.
    calls: usize,
}

/// Send a message again, to each URL that its webhook has now.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/messages/{messageId}/resend", tag = "Messages",
    operation_id = "resendMessage", params(("webhookId" = String, Path), ("messageId" = String, Path)),
    responses((status = 200, description = "The message is sent again.", body = ResendResponse)))]
pub(in super::super) async fn resend(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, message)): Path<(String, String)>,
) -> Result<Json<ResendResponse>, ApiError> {
    let (account, definitions) = (caller.account.clone(), api.store.applied_offset());
    let (_, webhook) = api.messages_of(&webhook, caller)?;
    let place = "in the message log, or not in its newest part";
    let missing = ApiError::not_found(format!("there is no message {message:?} of webhook {webhook} {place}"));
    let Ok(id) = message.parse::<MessageId>() else { return Err(missing) };
    let own = account.clone();
    let calls = api.run_read(&account, async move |api: Arc<Api>| {
        let origin = api.message_log.find(&own, webhook, id).await?.ok_or(missing)?;
        api.check_active(webhook, origin.event)?;
        Ok(api.resender.resend(&origin.source_position, origin.event, id, definitions).await?)
    });
    Ok(Json(ResendResponse { calls: calls.await? }))
}

impl Api {
    /// Refuses a resend whose calls would be cancelled, because the event or its webhook is deleted or disabled.
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

impl From<ResendError> for ApiError {
    fn from(error: ResendError) -> Self {
        match error {
            ResendError::Read(error) => error.into(),
            ResendError::NotAcknowledged(cause) => {
                // The cause names brokers and topics, which API clients must not see.
                tracing::error!("calls of a resent message were not acknowledged: {cause}");
                Self::unavailable("the message could not be written, but may still be sent: check that, then try again")
            }
            error => Self::conflict(error.to_string()),
        }
    }
}
