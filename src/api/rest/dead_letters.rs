//! `outgoingWebhooks/{webhookId}/deadLetters`: what was given up of a webhook's messages, and why. Ours.

pub(super) mod redrive;
mod shown;

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
use crate::dead_letters::{LetterFilter, LetterId};
use crate::definition::{PendingDefinitions, edit};
use crate::id::WebhookId;
use crate::kafka::topic_reader::{Bounds, TopicCursor};
use crate::redelivery::RedriveMarkers;

pub use self::shown::{LetterShown, OpenedShown};

/// How long the topic is read for one answer, well under what an answer may take.
const TIME: Duration = Duration::from_secs(8);
/// How long it is read for what was redriven of the letters in an answer.
const MARKERS: Duration = Duration::from_secs(5);
/// How many bytes of it are read for one answer.
const BYTES: u64 = 256 * 1024 * 1024;
/// How many bytes of a body are shown.
const MAX_BODY: usize = 1024 * 1024;

/// Which letters are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
#[into_params(parameter_in = Query)]
pub(super) struct LettersQuery {
    /// Only of this event.
    #[param(value_type = String, required = false)]
    event_id: Option<String>,
    /// Only of this class, which says how the last attempt ended: status_5xx, timeout, gone and so on.
    #[param(value_type = String, required = false, pattern = "^[a-z0-9_]{1,40}$")]
    class: Option<String>,
    /// Only those written at this time or later.
    #[param(value_type = String, required = false, format = DateTime)]
    since: Option<String>,
    /// Only those written before this time.
    #[param(value_type = String, required = false, format = DateTime)]
    until: Option<String>,
    /// Only of this message: one for each URL that did not take it.
    #[param(value_type = String, required = false, format = "uuid")]
    message_id: Option<String>,
    /// How many at most, 50 unless told otherwise.
    #[param(value_type = u16, required = false, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The NextCursor of the page before.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// Dead letters, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = DeadLetters)]
pub(super) struct LettersPage {
    /// There may be fewer than the limit, even none, and still a next page: looking for rare ones takes time.
    result: Vec<LetterShown>,
    /// What to send as Cursor for the next page; null when there is none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List what was given up of a webhook's messages, the newest first.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/deadLetters", tag = "Dead letters",
    operation_id = "listDeadLetters", params(("webhookId" = String, Path), LettersQuery),
    responses((status = 200, description = "A page of them.", body = LettersPage)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    Query(query): Query<LettersQuery>,
) -> Result<Json<LettersPage>, ApiError> {
    let webhook = api.webhook_id(&webhook, &caller)?;
    let (filter, from, limit) = query.read()?;
    let filter = LetterFilter { account: Some(caller.account.clone()), webhook: Some(webhook), ..filter };
    let page = api.reading(&caller.account, async move |api: Arc<Api>| {
        let mut redriven = RedriveMarkers::among(&filter);
        let mut page = api.letters.page(filter, from, Bounds { found: limit, bytes: BYTES, time: TIME }).await?;
        redriven.mark(&mut page.found, &api.letters, MARKERS).await?;
        Ok(page)
    });
    let page = page.await?;
    let result = page.found.iter().map(LetterShown::of).collect();
    Ok(Json(LettersPage { result, next_cursor: page.next.map(|next| next.to_string()) }))
}

/// Read a dead letter with its body.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/deadLetters/{letterId}", tag = "Dead letters",
    operation_id = "readDeadLetter", params(("webhookId" = String, Path), ("letterId" = String, Path)),
    responses((status = 200, description = "The letter.", body = OpenedShown)))]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, letter)): Path<(String, String)>,
) -> Result<Json<OpenedShown>, ApiError> {
    let webhook = api.webhook_id(&webhook, &caller)?;
    let missing = ApiError::not_found(format!("there is no dead letter {letter:?} of webhook {webhook}"));
    let Ok(id) = letter.parse::<LetterId>() else { return Err(missing) };
    let own = LetterFilter { account: Some(caller.account.clone()), webhook: Some(webhook), ..LetterFilter::default() };
    let opened = api.reading(&caller.account, async move |api: Arc<Api>| {
        let opened = api.letters.open(id, TIME).await?.filter(|opened| own.takes(&opened.letter));
        let mut opened = opened.ok_or(missing)?;
        RedriveMarkers::among(&own).mark(std::slice::from_mut(&mut opened.letter), &api.letters, MARKERS).await?;
        Ok(opened)
    });
    Ok(Json(OpenedShown::of(&opened.await?, false, MAX_BODY)))
}

impl Api {
    /// The id of a webhook of the caller's account.
    pub(super) fn webhook_id(&self, id: &str, caller: &Caller) -> Result<WebhookId, ApiError> {
        Ok(self.store.with(|definitions| {
            edit::webhook(&PendingDefinitions::on(definitions), id, &caller.account).map(|webhook| webhook.id)
        })?)
    }
}

impl LettersQuery {
    /// What is asked for, from where on, and how many.
    fn read(self) -> Result<(LetterFilter, Option<TopicCursor>, usize), ApiError> {
        let filter = LetterFilter {
            event: parsed("EventId", self.event_id.as_deref())?,
            message: parsed("MessageId", self.message_id.as_deref())?,
            class: self.class.map(class).transpose()?,
            since: time("Since", self.since.as_deref())?,
            until: time("Until", self.until.as_deref())?,
            ..LetterFilter::default()
        };
        let limit = limit(self.limit.as_deref())?;
        Ok((filter, parsed("Cursor", self.cursor.as_deref())?, limit))
    }
}

/// A class that nobody knows is no mistake: other versions have others.
fn class(given: String) -> Result<String, ApiError> {
    let of_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=40).contains(&given.len()) && given.bytes().all(of_word) {
        return Ok(given);
    }
    Err(ApiError::query(format!("Class is {given:?}: a class is a word such as status_5xx or timeout")))
}
