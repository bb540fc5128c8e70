//! `outgoingWebhooks`: list, create, read, change, delete, and regenerate the secret.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Api;
use super::super::body::{JsonBody, OptionalBody};
use super::super::error::ApiError;
use super::super::oauth::Caller;
use super::shapes::{Listed, WebhookCreated, WebhookRead, WebhookView};
use crate::definition::edit::{self, EditError, WebhookRequest};
use crate::definition::{Definitions, HiddenText, PendingDefinitions, Webhook, rules};
use crate::id::EventId;

/// Default time for which an old secret stays valid, in seconds: a day.
const DEFAULT_OVERLAP_SECONDS: u32 = 86_400;
/// Max time for which an old secret may stay valid, in seconds: 30 days.
const MAX_OVERLAP_SECONDS: u32 = 30 * 86_400;

/// Options to replace a secret.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct SecretRequest {
    /// For how many seconds messages are also signed with the old secret. Default 86400, a day.
    #[schema(minimum = 0, maximum = 2_592_000, example = 86_400)]
    overlap_seconds: Option<u32>,
    /// Exists only to refuse a chosen secret: secrets are generated.
    #[schema(ignore)]
    secret: Option<HiddenText>,
}

/// Placeholder for the schema of a webhook's change; `openapi::schemas` adds its fields.
#[derive(Debug, ToSchema)]
#[schema(as = WebhookChangeRequest)]
pub(super) struct WebhookChange {}

/// A webhook with its new secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecretRegenerated {
    #[serde(flatten)]
    webhook: WebhookCreated,
    /// Until when messages are also signed with the old secret; null if they no longer are.
    #[schema(required, format = DateTime)]
    old_secret_valid_until: Option<String>,
}

/// List the webhooks of the account, by name.
#[utoipa::path(get, path = "/outgoingWebhooks", tag = "Webhooks", operation_id = "listWebhooks",
    responses((status = 200, description = "The webhooks.", body = [WebhookRead])))]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Json<Listed<WebhookRead>> {
    let found: Vec<_> = api.store.with(|definitions| {
        let webhooks = definitions.webhooks_of(&caller.account);
        webhooks.map(|webhook| webhook_without_counts(&api, definitions, webhook, caller.legacy)).collect()
    });
    // Add counts after the lock on the definitions is released.
    let webhooks: Vec<_> = found.into_iter().map(|found| add_counts(&api, found)).collect();
    Json(Listed::of(webhooks, caller.legacy))
}

/// Create a webhook. Only this answer contains its secret.
#[utoipa::path(post, path = "/outgoingWebhooks", tag = "Webhooks", operation_id = "createWebhook",
    request_body = WebhookRequest,
    responses((status = 201, description = "The webhook is created and active.", body = WebhookCreated)))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JsonBody(request): JsonBody<WebhookRequest>,
) -> Result<(StatusCode, Json<WebhookCreated>), ApiError> {
    let made = api.edit(&caller, move |draft, terms| edit::create_webhook(draft, &request, terms)).await?;
    Ok((StatusCode::CREATED, Json(WebhookCreated::of(made, &api.policy.limits))))
}

/// Read a webhook.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}", tag = "Webhooks", operation_id = "readWebhook",
    params(("webhookId" = String, Path)), responses((status = 200, description = "The webhook.", body = WebhookRead)))]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<WebhookRead>, ApiError> {
    let found = api.store.with(|definitions| {
        let draft = PendingDefinitions::new(definitions);
        edit::webhook(&draft, &id, &caller.account)
            .map(|webhook| webhook_without_counts(&api, definitions, webhook, caller.legacy))
    })?;
    Ok(Json(add_counts(&api, found)))
}

/// Change the given fields of a webhook. Enabled makes all of its events Active or Inactive.
#[utoipa::path(put, path = "/outgoingWebhooks/{webhookId}", tag = "Webhooks", operation_id = "changeWebhook",
    params(("webhookId" = String, Path)), request_body = WebhookChange,
    responses((status = 200, description = "The webhook is changed, and the change is active.", body = WebhookView)))]
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<WebhookRequest>,
) -> Result<Json<WebhookView>, ApiError> {
    let changed = api.edit(&caller, move |draft, terms| edit::change_webhook(draft, &id, &request, terms)).await?;
    Ok(Json(
        api.store.with(|definitions| WebhookView::of(&changed, definitions.events_of(changed.id), &api.policy.limits)),
    ))
}

/// Delete a webhook with its events.
#[utoipa::path(delete, path = "/outgoingWebhooks/{webhookId}", tag = "Webhooks", operation_id = "deleteWebhook",
    params(("webhookId" = String, Path)),
    responses((status = 204, description = "The webhook is deleted; no further message is sent.")))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    api.edit(&caller, move |draft, terms| edit::delete_webhook(draft, &id, terms.account)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Generate a new secret for a webhook. Until the old one ends, messages are signed with both.
#[utoipa::path(patch, path = "/outgoingWebhooks/{webhookId}/regenerateSecret", tag = "Webhooks",
    operation_id = "regenerateSecret", params(("webhookId" = String, Path)), request_body = Option<SecretRequest>,
    responses((status = 200, description = "The webhook with its new secret.", body = SecretRegenerated)))]
pub(super) async fn regenerate_secret(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<SecretRequest>,
) -> Result<Json<SecretRegenerated>, ApiError> {
    rules::check_secret_not_chosen(request.secret.as_ref(), None).map_err(EditError::from)?;
    let overlap = request.overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS);
    if overlap > MAX_OVERLAP_SECONDS {
        return Err(ApiError::body(format!(
            "OverlapSeconds is {overlap}, but at most {MAX_OVERLAP_SECONDS} are allowed"
        )));
    }
    let now = Timestamp::now().as_second();
    let until = (overlap > 0).then(|| now + i64::from(overlap));
    let regenerate = move |draft: &PendingDefinitions<'_>, terms: &edit::RequestContext<'_>| {
        edit::regenerate_secret(draft, &id, (now, until), terms)
    };
    let changed = api.edit(&caller, regenerate).await?;
    let old_secret_valid_until = until.and_then(|until| Timestamp::from_second(until).ok()).map(|at| at.to_string());
    Ok(Json(SecretRegenerated { webhook: WebhookCreated::of(changed, &api.policy.limits), old_secret_valid_until }))
}

/// Returns a webhook without its counts, and the events to count.
fn webhook_without_counts(
    api: &Api,
    definitions: &Definitions,
    webhook: &Webhook,
    legacy: bool,
) -> (WebhookRead, Vec<EventId>) {
    let events = definitions.events_of(webhook.id).map(|event| event.id).collect();
    (WebhookRead::of(webhook, definitions.events_of(webhook.id), &api.policy.limits, legacy), events)
}

fn add_counts(api: &Api, (mut read, events): (WebhookRead, Vec<EventId>)) -> WebhookRead {
    read.counts = api.counts(events.into_iter());
    read
}
