//! `outgoingWebhooks/{webhookId}/events`: list, create, read, replace, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use ring::digest::{SHA256, digest};
use uuid::Builder;

use super::super::Api;
use super::super::body::JsonBody;
use super::super::error::ApiError;
use super::super::oauth::Caller;
use super::shapes::{EventChanged, EventCreated, EventRead, Listed};
use crate::definition::edit::{self, EventWanted};
use crate::definition::{Event, PendingDefinitions};
use crate::id::AccountId;

/// List a webhook's events, the oldest first.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/events", tag = "Events", operation_id = "listEvents",
    params(("webhookId" = String, Path)),
    responses((status = 200, description = "The events.", body = [EventRead])))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
) -> Result<Json<Listed<EventRead>>, ApiError> {
    let events = api.store.with(|definitions| {
        let webhook = edit::webhook(&PendingDefinitions::new(definitions), &webhook, &caller.account)?.clone();
        let mut events: Vec<_> = definitions.events_of(webhook.id).collect();
        events.sort_by(|one, other| (&one.created.at, one.id).cmp(&(&other.created.at, other.id)));
        let read = |event: &Event| event_read(&api, event.clone(), webhook.enabled, &caller.account);
        Ok::<Vec<_>, ApiError>(events.into_iter().map(read).collect())
    })?;
    Ok(Json(Listed::of(events, caller.legacy)))
}

/// Create an event. It applies to row changes from the answer on.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/events", tag = "Events", operation_id = "createEvent",
    params(("webhookId" = String, Path)), request_body = EventWanted,
    responses((status = 201, description = "The event is created and active.", body = EventCreated)))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    JsonBody(request): JsonBody<EventWanted>,
) -> Result<(StatusCode, Json<EventCreated>), ApiError> {
    api.wait_for_catalogue().await;
    let made = api.edit(&caller, move |draft, terms| edit::create_event(draft, &webhook, &request, terms)).await?;
    let webhook_enabled = is_webhook_enabled(&api, &made);
    Ok((StatusCode::CREATED, Json(EventCreated::of(made, webhook_enabled))))
}

/// Read an event.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/events/{eventId}", tag = "Events",
    operation_id = "readEvent", params(("webhookId" = String, Path), ("eventId" = String, Path)),
    responses((status = 200, description = "The event.", body = EventRead)))]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, event)): Path<(String, String)>,
) -> Result<Json<EventRead>, ApiError> {
    let found = api.store.with(|definitions| {
        edit::event(&PendingDefinitions::new(definitions), (&webhook, &event), &caller.account).cloned()
    })?;
    let webhook_enabled = is_webhook_enabled(&api, &found);
    Ok(Json(event_read(&api, found, webhook_enabled, &caller.account)))
}

/// Replace an event. It keeps its id.
#[utoipa::path(put, path = "/outgoingWebhooks/{webhookId}/events/{eventId}", tag = "Events",
    operation_id = "replaceEvent", params(("webhookId" = String, Path), ("eventId" = String, Path)),
    request_body = EventWanted,
    responses((status = 200, description = "The event is replaced, and the change is active.", body = EventChanged)))]
pub(super) async fn replace(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, event)): Path<(String, String)>,
    JsonBody(request): JsonBody<EventWanted>,
) -> Result<Json<EventChanged>, ApiError> {
    let replace = move |draft: &PendingDefinitions<'_>, terms: &edit::RequestContext<'_>| {
        edit::replace_event(draft, (&webhook, &event), &request, terms)
    };
    api.wait_for_catalogue().await;
    let replaced = api.edit(&caller, replace).await?;
    let webhook_enabled = is_webhook_enabled(&api, &replaced);
    Ok(Json(EventChanged::of(replaced, webhook_enabled)))
}

/// Delete an event.
#[utoipa::path(delete, path = "/outgoingWebhooks/{webhookId}/events/{eventId}", tag = "Events",
    operation_id = "deleteEvent", params(("webhookId" = String, Path), ("eventId" = String, Path)),
    responses((status = 204, description = "The event is deleted.")))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, event)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    api.edit(&caller, move |draft, terms| edit::delete_event(draft, (&webhook, &event), terms.account)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether an event's webhook is enabled.
fn is_webhook_enabled(api: &Api, event: &Event) -> bool {
    api.store.with(|definitions| definitions.webhook(event.webhook).is_some_and(|webhook| webhook.enabled))
}

fn event_read(api: &Api, event: Event, webhook_enabled: bool, account: &AccountId) -> EventRead {
    let counts = api.counts([event.id].into_iter());
    let object_id = object_id(account, &event.object_name);
    EventRead::of(event, webhook_enabled, object_id, counts)
}

/// A UUID (version 8, RFC 9562) made from account and table, because every instance must return the same one.
fn object_id(account: &AccountId, table: &str) -> String {
    let hash = digest(&SHA256, format!("{}\0{table}", account.as_str()).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
}
