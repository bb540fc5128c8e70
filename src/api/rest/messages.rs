//! `outgoingWebhooks/{webhookId}/messages`: a webhook's messages and attempts, from the message log. Our extension.

pub(super) mod resend;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::Api;
use super::super::error::ApiError;
use super::super::oauth::Caller;
use super::super::query::{Query, limit, parsed, time};
pub use crate::api::rest::messages::view::{AttemptView, MessageView};
use crate::id::{MessageId, WebhookId};
use crate::kafka::topic_reader::{PageLimits, TopicCursor};
use crate::message_log::{EntryFilter, StatusFilter, newest_per_call};

/// Max time to read the topic for one answer, well below the time limit of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(8);
/// Max bytes of the topic that are read for a page, and for the attempts of one message.
const MAX_PAGE_BYTES: u64 = 256 * 1024 * 1024;
const MAX_MESSAGE_SCAN_BYTES: u64 = 1024 * 1024 * 1024;
/// Max attempts of a message that are shown: as many as 20 of its URLs can have.
const MAX_ATTEMPTS: usize = 1_000;

/// Selects the messages to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
#[into_params(parameter_in = Query)]
pub(super) struct MessagesQuery {
    /// Only attempts that left their call in this status: Delivered, WillRetry, Exhausted, Cancelled. Failed is
    /// WillRetry or Exhausted.
    #[param(value_type = String, required = false, pattern = "^(Delivered|WillRetry|Exhausted|Cancelled|Failed)$")]
    status: Option<String>,
    /// Only attempts of this event.
    #[param(value_type = String, required = false)]
    event_id: Option<String>,
    /// Only attempts that ended at this time or later.
    #[param(value_type = String, required = false, format = DateTime)]
    since: Option<String>,
    /// Only attempts that ended before this time.
    #[param(value_type = String, required = false, format = DateTime)]
    until: Option<String>,
    /// Only attempts of this message.
    #[param(value_type = String, required = false, format = "uuid")]
    message_id: Option<String>,
    /// Max number of attempts in a page. Default 50.
    #[param(value_type = u16, required = false, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The NextCursor of the previous page.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// Selects the attempts of a message to show.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
#[into_params(parameter_in = Query)]
pub(super) struct MessageQuery {
    /// Only attempts that ended at this time or later.
    #[param(value_type = String, required = false, format = DateTime)]
    since: Option<String>,
    /// Only attempts that ended before this time. It makes the search for old attempts faster.
    #[param(value_type = String, required = false, format = DateTime)]
    until: Option<String>,
}

/// Messages, once for each URL, with the newest attempt; the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Messages)]
pub(super) struct MessagesPage {
    /// One entry for each message and URL in this part of the log. A message whose attempts are far apart appears in a
    /// later page again, in its state at that time. A page may have fewer entries than Limit, even none, although there
    /// is a next page.
    result: Vec<AttemptView>,
    /// The Cursor for the next page; null if there is none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List a webhook's messages with their newest attempts, the newest first.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/messages", tag = "Messages",
    operation_id = "listMessages", params(("webhookId" = String, Path), MessagesQuery),
    responses((status = 200, description = "A page of messages.", body = MessagesPage)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    Query(query): Query<MessagesQuery>,
) -> Result<Json<MessagesPage>, ApiError> {
    let (account, (own, _)) = (caller.account.clone(), api.messages_of(&webhook, caller)?);
    let from: Option<TopicCursor> = parsed("Cursor", query.cursor.as_deref())?;
    let max_found = limit(query.limit.as_deref())?;
    let filter = EntryFilter {
        event: parsed("EventId", query.event_id.as_deref())?,
        message: parsed("MessageId", query.message_id.as_deref())?,
        statuses: parsed::<StatusFilter>("Status", query.status.as_deref())?.unwrap_or_default().0,
        ..with_time_range(own, query.since.as_deref(), query.until.as_deref())?
    };
    let bounds = PageLimits { max_found, max_bytes: MAX_PAGE_BYTES, max_time: READ_TIMEOUT };
    let read = async move |api: Arc<Api>| Ok(api.message_log.page(filter, from, bounds).await?);
    let page = api.run_read(&account, read).await?;
    let result = newest_per_call(page.found).iter().map(AttemptView::for_clients).collect();
    Ok(Json(MessagesPage { result, next_cursor: page.next_cursor.map(|next| next.to_string()) }))
}

/// Read a message with its attempts to all URLs.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/messages/{messageId}", tag = "Messages",
    operation_id = "readMessage", params(("webhookId" = String, Path), ("messageId" = String, Path), MessageQuery),
    responses((status = 200, description = "The message.", body = MessageView)))]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, message)): Path<(String, String)>,
    Query(query): Query<MessageQuery>,
) -> Result<Json<MessageView>, ApiError> {
    let (account, (own, webhook)) = (caller.account.clone(), api.messages_of(&webhook, caller)?);
    let missing =
        |place: &str| ApiError::not_found(format!("there is no message {message:?} of webhook {webhook} {place}"));
    let id = message.parse::<MessageId>().map_err(|_| missing("in the message log"))?;
    let filter =
        EntryFilter { message: Some(id), ..with_time_range(own, query.since.as_deref(), query.until.as_deref())? };
    let bounds = PageLimits { max_found: MAX_ATTEMPTS, max_bytes: MAX_MESSAGE_SCAN_BYTES, max_time: READ_TIMEOUT };
    let read = async move |api: Arc<Api>| Ok(api.message_log.page(filter, None, bounds).await?);
    let page = api.run_read(&account, read).await?;
    let complete = page.next_cursor.is_none();
    let shown = MessageView::for_clients(page.found, complete).ok_or_else(|| {
        missing(if complete { "in the message log" } else { "in the newest part of the log: older parts need Until" })
    })?;
    Ok(Json(shown))
}

impl Api {
    /// Filter for the messages of a webhook of the caller's account, and the webhook's id.
    fn messages_of(&self, webhook: &str, caller: Caller) -> Result<(EntryFilter, WebhookId), ApiError> {
        let webhook = self.webhook(webhook, &caller)?.id;
        if !self.message_log.is_written() {
            return Err(ApiError::not_found("there is no message log: message_log.level is off at this instance"));
        }
        Ok((EntryFilter::of(caller.account, webhook), webhook))
    }
}

fn with_time_range(filter: EntryFilter, since: Option<&str>, until: Option<&str>) -> Result<EntryFilter, ApiError> {
    let (since, until): (Option<Timestamp>, Option<Timestamp>) = (time("Since", since)?, time("Until", until)?);
    Ok(EntryFilter { since, until, ..filter })
}
