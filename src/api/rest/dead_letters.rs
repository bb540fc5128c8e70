//! `outgoingWebhooks/{webhookId}/deadLetters`: the dead letters of a webhook, with their causes. Our extension.

pub(super) mod redrive;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::Api;
use super::super::error::ApiError;
use super::super::oauth::Caller;
use super::super::query::{Query, limit, parsed, time};
use crate::dead_letters::{DeadLetterFilter, DeadLetterId};
use crate::kafka::topic_reader::{PageLimits, TopicCursor};
use crate::redelivery::RedriveMarkers;

pub use crate::api::rest::dead_letters::view::{DeadLetterView, DeadLetterWithBodyView};

/// Max time to read the topic for one answer, well below the time limit of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(8);
/// Max time to read the redrive markers of the letters in an answer.
const MARKERS_TIMEOUT: Duration = Duration::from_secs(5);
/// Max bytes of the topic that are read for one answer.
const MAX_SCANNED_BYTES: u64 = 256 * 1024 * 1024;
/// Max bytes of a body that are shown.
const MAX_BODY: usize = 1024 * 1024;

/// Selects the letters to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLettersQuery {
    /// Only letters of this event.
    #[param(value_type = String, required = false)]
    event_id: Option<String>,
    /// Only letters of this class: the result of the last attempt, such as status_5xx, timeout or gone.
    #[param(value_type = String, required = false, pattern = "^[a-z0-9_]{1,40}$")]
    class: Option<String>,
    /// Only letters written at this time or later.
    #[param(value_type = String, required = false, format = DateTime)]
    since: Option<String>,
    /// Only letters written before this time.
    #[param(value_type = String, required = false, format = DateTime)]
    until: Option<String>,
    /// Only letters of this message: one for each URL that did not accept it.
    #[param(value_type = String, required = false, format = "uuid")]
    message_id: Option<String>,
    /// Max number of letters. Default 50.
    #[param(value_type = u16, required = false, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The NextCursor of the previous page.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// Dead letters, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = DeadLetters)]
pub(super) struct DeadLettersPage {
    /// May have fewer letters than Limit, even none, although there is a next page: a request scans part of the topic.
    result: Vec<DeadLetterView>,
    /// The Cursor for the next page; null if there is none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List the dead letters of a webhook, the newest first.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/deadLetters", tag = "Dead letters",
    operation_id = "listDeadLetters", params(("webhookId" = String, Path), DeadLettersQuery),
    responses((status = 200, description = "A page of dead letters.", body = DeadLettersPage)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Json<DeadLettersPage>, ApiError> {
    let webhook = api.webhook(&webhook, &caller)?.id;
    let (filter, from, limit) = query.read()?;
    let filter = DeadLetterFilter { account: Some(caller.account.clone()), webhook: Some(webhook), ..filter };
    let page = api.run_read(&caller.account, async move |api: Arc<Api>| {
        let mut redriven = RedriveMarkers::for_letters(&filter);
        let mut page = api
            .dead_letters
            .page(filter, from, PageLimits { max_found: limit, max_bytes: MAX_SCANNED_BYTES, max_time: READ_TIMEOUT })
            .await?;
        redriven.set_redriven(&mut page.found, &api.dead_letters, MARKERS_TIMEOUT).await?;
        Ok(page)
    });
    let page = page.await?;
    let result = page.found.iter().map(DeadLetterView::of).collect();
    Ok(Json(DeadLettersPage { result, next_cursor: page.next_cursor.map(|next| next.to_string()) }))
}

/// Read a dead letter with its body.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/deadLetters/{letterId}", tag = "Dead letters",
    operation_id = "readDeadLetter", params(("webhookId" = String, Path), ("letterId" = String, Path)),
    responses((status = 200, description = "The dead letter.", body = DeadLetterWithBodyView)))]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, letter)): Path<(String, String)>,
) -> Result<Json<DeadLetterWithBodyView>, ApiError> {
    let webhook = api.webhook(&webhook, &caller)?.id;
    let missing = ApiError::not_found(format!("there is no dead letter {letter:?} of webhook {webhook}"));
    let Ok(id) = letter.parse::<DeadLetterId>() else { return Err(missing) };
    let own = DeadLetterFilter {
        account: Some(caller.account.clone()),
        webhook: Some(webhook),
        ..DeadLetterFilter::default()
    };
    let opened = api.run_read(&caller.account, async move |api: Arc<Api>| {
        let opened = api.dead_letters.read_one(id, READ_TIMEOUT).await?.filter(|opened| own.matches(&opened.letter));
        let mut opened = opened.ok_or(missing)?;
        RedriveMarkers::for_letters(&own)
            .set_redriven(std::slice::from_mut(&mut opened.letter), &api.dead_letters, MARKERS_TIMEOUT)
            .await?;
        Ok(opened)
    });
    Ok(Json(DeadLetterWithBodyView::of(&opened.await?, false, MAX_BODY)))
}

impl DeadLettersQuery {
    /// Parses filter, cursor and limit.
    fn read(self) -> Result<(DeadLetterFilter, Option<TopicCursor>, usize), ApiError> {
        let filter = DeadLetterFilter {
            event: parsed("EventId", self.event_id.as_deref())?,
            message: parsed("MessageId", self.message_id.as_deref())?,
            class: self.class.map(class).transpose()?,
            since: time("Since", self.since.as_deref())?,
            until: time("Until", self.until.as_deref())?,
            ..DeadLetterFilter::default()
        };
        let limit = limit(self.limit.as_deref())?;
        Ok((filter, parsed("Cursor", self.cursor.as_deref())?, limit))
    }
}

/// Parses a class. An unknown class is accepted: letters of other versions may have it.
fn class(given: String) -> Result<String, ApiError> {
    let is_word_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=40).contains(&given.len()) && given.bytes().all(is_word_byte) {
        return Ok(given);
    }
    Err(ApiError::query(format!("Class is {given:?}: use a word such as status_5xx or timeout")))
}
