//! `deadLetters/redrive`: sends dead letters of a webhook again. Our extension.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{class, parsed, time};
use crate::api::Api;
use crate::api::body::{JsonBody, OptionalBody};
use crate::api::error::ApiError;
use crate::api::oauth::Caller;
use crate::dead_letters::{DeadLetterFilter, DeadLetterId, RedriveCandidate};
use crate::kafka::topic_reader::{PageLimits, TopicCursor};
use crate::redelivery::{RedriveMarkers, RedriveOptions, RedriveOutcomes, SkipReason};

/// Max time of each step: reading letters, reading redrive markers, and starting to send letters. The last letters may
/// take ten seconds more. The total is below the time limit of an answer.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Max letters that a request redrives, and max bytes of the topic that are read for them.
const PAGE_LIMITS: PageLimits = PageLimits { max_found: 1_000, max_bytes: 32 * 1024 * 1024, max_time: STEP_TIMEOUT };
/// Max ids in a request. The limit is low because each letter is looked up separately.
const MAX_IDS: usize = 32;

/// Selects the letters to redrive: by Ids, by conditions, or All. One of the three is required. Times, ids and class
/// are as in the list.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub(in super::super) struct RedriveRequest {
    /// Ids of letters. Excludes conditions, All and Cursor.
    #[schema(max_items = 32, example = json!(["2:1044"]))]
    ids: Option<Vec<String>>,
    /// Only letters of this event.
    event_id: Option<String>,
    /// Only letters of this message.
    message_id: Option<String>,
    /// Only letters of this class.
    #[schema(pattern = "^[a-z0-9_]{1,40}$")]
    class: Option<String>,
    /// Only letters written at this time or later.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Only letters written before this time.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// All letters of this webhook. Excludes conditions.
    all: Option<bool>,
    /// The NextCursor of the previous answer. Repeat the conditions or All of that request.
    #[schema(pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Also redrives letters that were redriven before.
    again: Option<bool>,
}

/// Options to redrive one letter.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub(in super::super) struct RedriveOneRequest {
    /// Also redrives the letter if it was redriven before.
    again: Option<bool>,
}

/// Result of a redrive.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Redriven)]
pub(in super::super) struct RedriveResponse {
    /// Number of letters that were sent again.
    redriven: usize,
    skipped: Vec<SkippedView>,
    /// The Cursor to continue with older letters; null if there are none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A letter that was not sent again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = SkippedDeadLetter)]
struct SkippedView {
    #[schema(pattern = "^[0-9]+:[0-9]+$", example = "2:1044")]
    id: String,
    reason: String,
}

/// Send dead letters of a webhook again, up to 1000 in a request, the newest first.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/deadLetters/redrive", tag = "Dead letters",
    operation_id = "redriveDeadLetters", params(("webhookId" = String, Path)), request_body = RedriveRequest,
    responses((status = 200, description = "The number sent, and the skipped letters.", body = RedriveResponse)))]
pub(in super::super) async fn many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    JsonBody(request): JsonBody<RedriveRequest>,
) -> Result<Json<RedriveResponse>, ApiError> {
    let webhook_filter = api.webhook_filter(&webhook, &caller)?;
    let include_redriven = request.again == Some(true);
    let (filter, selection) = request.read(&webhook_filter)?;
    let account = caller.account.clone();
    let answer = api.run_read(&account, async move |api: Arc<Api>| match selection {
        LetterSelection::Ids(ids) => api.redrive_ids(&ids, &webhook_filter, include_redriven, &caller).await,
        LetterSelection::Page(from) => {
            let page = api.dead_letters.candidates(filter.clone(), from, PAGE_LIMITS).await?;
            let outcomes = api.redrive_candidates(page.found, &filter, include_redriven, &caller).await?;
            Ok(RedriveResponse::of(&outcomes, page.next_cursor))
        }
    });
    Ok(Json(answer.await?))
}

/// Send a dead letter again.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/deadLetters/{letterId}/redrive", tag = "Dead letters",
    operation_id = "redriveDeadLetter", params(("webhookId" = String, Path), ("letterId" = String, Path)),
    request_body = Option<RedriveOneRequest>,
    responses((status = 200, description = "Whether it was sent or skipped.", body = RedriveResponse)))]
pub(in super::super) async fn one(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, letter)): Path<(String, String)>,
    OptionalBody(request): OptionalBody<RedriveOneRequest>,
) -> Result<Json<RedriveResponse>, ApiError> {
    let webhook_filter = api.webhook_filter(&webhook, &caller)?;
    let missing = ApiError::not_found(format!("there is no dead letter {letter:?} of webhook {webhook:?}"));
    let Ok(id) = letter.parse::<DeadLetterId>() else { return Err(missing) };
    let account = caller.account.clone();
    let answer = api.run_read(&account, async move |api: Arc<Api>| {
        let found = api.dead_letters.read_by_ids(&[id], STEP_TIMEOUT).await?.pop().flatten();
        let found = found.filter(|found| webhook_filter.matches(&found.letter)).ok_or(missing)?;
        let include_redriven = request.again == Some(true);
        let outcomes = api.redrive_candidates(vec![found], &webhook_filter, include_redriven, &caller).await?;
        Ok(RedriveResponse::of(&outcomes, None))
    });
    Ok(Json(answer.await?))
}

impl Api {
    /// Filter for the letters of a webhook of the caller's account.
    fn webhook_filter(&self, webhook: &str, caller: &Caller) -> Result<DeadLetterFilter, ApiError> {
        let webhook = self.webhook(webhook, caller)?.id;
        Ok(DeadLetterFilter {
            account: Some(caller.account.clone()),
            webhook: Some(webhook),
            ..DeadLetterFilter::default()
        })
    }

    async fn redrive_ids(
        &self,
        ids: &[DeadLetterId],
        webhook_filter: &DeadLetterFilter,
        include_redriven: bool,
        caller: &Caller,
    ) -> Result<RedriveResponse, ApiError> {
        let found = self.dead_letters.read_by_ids(ids, STEP_TIMEOUT).await?;
        let matching = |found: Option<RedriveCandidate>| found.filter(|found| webhook_filter.matches(&found.letter));
        let found: Vec<_> = found.into_iter().map(matching).collect();
        let missing = ids.iter().zip(&found).filter(|(_, found)| found.is_none());
        let mut outcomes: RedriveOutcomes = missing.map(|(id, _)| (*id, Err(SkipReason::Missing))).collect();
        let candidates = found.into_iter().flatten().collect();
        outcomes.extend(self.redrive_candidates(candidates, webhook_filter, include_redriven, caller).await?);
        Ok(RedriveResponse::of(&outcomes, None))
    }

    async fn redrive_candidates(
        &self,
        found: Vec<RedriveCandidate>,
        filter: &DeadLetterFilter,
        include_redriven: bool,
        caller: &Caller,
    ) -> Result<RedriveOutcomes, ApiError> {
        let (definitions, requested_by) = (self.store.applied_offset(), caller.name.clone());
        let order = RedriveOptions {
            include_redriven,
            dry_run: false,
            definitions_offset: definitions,
            requested_by,
            marker_scan_timeout: STEP_TIMEOUT,
            write_timeout: STEP_TIMEOUT,
        };
        Ok(self.redriver.send(found, &self.dead_letters, &mut RedriveMarkers::for_letters(filter), &order).await?)
    }
}

/// Letters by id, or a page of letters that starts at a cursor.
enum LetterSelection {
    Ids(Vec<DeadLetterId>),
    Page(Option<TopicCursor>),
}

impl RedriveRequest {
    /// Narrows `webhook_filter` to the letters that the request selects.
    fn read(self, webhook_filter: &DeadLetterFilter) -> Result<(DeadLetterFilter, LetterSelection), ApiError> {
        let to_body_error = |error: ApiError| ApiError::body(error.message);
        let filter = DeadLetterFilter {
            event: parsed("EventId", self.event_id.as_deref()).map_err(to_body_error)?,
            message: parsed("MessageId", self.message_id.as_deref()).map_err(to_body_error)?,
            class: self.class.map(class).transpose().map_err(to_body_error)?,
            since: time("Since", self.since.as_deref()).map_err(to_body_error)?,
            until: time("Until", self.until.as_deref()).map_err(to_body_error)?,
            ..webhook_filter.clone()
        };
        let from: Option<TopicCursor> = parsed("Cursor", self.cursor.as_deref()).map_err(to_body_error)?;
        let (has_conditions, all) = (filter != *webhook_filter, self.all == Some(true));
        let Some(ids) = self.ids else {
            return match (has_conditions, all) {
                (true, true) => Err(ApiError::body("All excludes conditions: omit the conditions, or All")),
                // A request without conditions must not send everything: the client may have forgotten them.
                (false, false) => Err(ApiError::body(
                    "the request selects no letters: send Ids, a condition (EventId, MessageId, Class, Since or \
                     Until), or {\"All\": true} for all letters of this webhook",
                )),
                _ => Ok((filter, LetterSelection::Page(from))),
            };
        };
        if has_conditions || all || from.is_some() {
            return Err(ApiError::body("Ids exclude conditions, All and Cursor: omit those, or Ids"));
        }
        if ids.len() > MAX_IDS {
            return Err(ApiError::body(format!("Ids has {} ids, but a request may have at most {MAX_IDS}", ids.len())));
        }
        let read = |id: String| id.parse().map_err(|error| ApiError::body(format!("Ids: {error}")));
        let mut ids = ids.into_iter().map(read).collect::<Result<Vec<DeadLetterId>, _>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok((filter, LetterSelection::Ids(ids)))
    }
}

impl RedriveResponse {
    fn of(outcomes: &RedriveOutcomes, next: Option<TopicCursor>) -> Self {
        let skipped = |(id, outcome): &(DeadLetterId, Result<(), SkipReason>)| {
            let reason = outcome.as_ref().err()?;
            Some(SkippedView { id: id.to_string(), reason: public_reason(reason) })
        };
        Self {
            redriven: outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(),
            skipped: outcomes.iter().filter_map(skipped).collect(),
            next_cursor: next.map(|next| next.to_string()),
        }
    }
}

/// The reason as API clients see it. Errors of the Kafka client are only logged: they name brokers and topics.
fn public_reason(reason: &SkipReason) -> String {
    match reason {
        SkipReason::NotAcknowledged(cause) | SkipReason::MarkerNotWritten(cause) => {
            tracing::error!("a dead letter could not be fully redriven: {cause}");
            format!("{}: try again in a moment", reason.label())
        }
        reason => reason.to_string(),
    }
}
