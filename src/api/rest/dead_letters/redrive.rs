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
use crate::dead_letters::{Candidate, LetterFilter, LetterId};
use crate::kafka::topic_reader::{Bounds, TopicCursor};
use crate::redelivery::{Outcomes, RedriveMarkers, RedriveOptions, Skipped};

/// Max time of each step: reading letters, reading redrive markers, and starting to send letters. The last letters may
/// take ten seconds more. The total is below the time limit of an answer.
const STEP: Duration = Duration::from_secs(5);
/// Max letters that a request redrives, and max bytes of the topic that are read for them.
const PAGE: Bounds = Bounds { found: 1_000, bytes: 32 * 1024 * 1024, time: STEP };
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
pub(in super::super) struct RedriveAnswer {
    /// Number of letters that were sent again.
    redriven: usize,
    skipped: Vec<SkippedShown>,
    /// The Cursor to continue with older letters; null if there are none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A letter that was not sent again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = SkippedDeadLetter)]
struct SkippedShown {
    #[schema(pattern = "^[0-9]+:[0-9]+$", example = "2:1044")]
    id: String,
    reason: String,
}

/// Send dead letters of a webhook again, up to 1000 in a request, the newest first.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/deadLetters/redrive", tag = "Dead letters",
    operation_id = "redriveDeadLetters", params(("webhookId" = String, Path)), request_body = RedriveRequest,
    responses((status = 200, description = "The number sent, and the skipped letters.", body = RedriveAnswer)))]
pub(in super::super) async fn many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    JsonBody(request): JsonBody<RedriveRequest>,
) -> Result<Json<RedriveAnswer>, ApiError> {
    let own = api.own(&webhook, &caller)?;
    let again = request.again == Some(true);
    let (filter, asked) = request.read(&own)?;
    let account = caller.account.clone();
    let answer = api.reading(&account, async move |api: Arc<Api>| match asked {
        LetterSelection::Named(ids) => api.redrive_named(&ids, &own, again, &caller).await,
        LetterSelection::Page(from) => {
            let page = api.letters.candidates(filter.clone(), from, PAGE).await?;
            let outcomes = api.redrive_all(page.found, &filter, again, &caller).await?;
            Ok(RedriveAnswer::of(&outcomes, page.next))
        }
    });
    Ok(Json(answer.await?))
}

/// Send a dead letter again.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/deadLetters/{letterId}/redrive", tag = "Dead letters",
    operation_id = "redriveDeadLetter", params(("webhookId" = String, Path), ("letterId" = String, Path)),
    request_body = Option<RedriveOneRequest>,
    responses((status = 200, description = "Whether it was sent or skipped.", body = RedriveAnswer)))]
pub(in super::super) async fn one(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, letter)): Path<(String, String)>,
    OptionalBody(request): OptionalBody<RedriveOneRequest>,
) -> Result<Json<RedriveAnswer>, ApiError> {
    let own = api.own(&webhook, &caller)?;
    let missing = ApiError::not_found(format!("there is no dead letter {letter:?} of webhook {webhook:?}"));
    let Ok(id) = letter.parse::<LetterId>() else { return Err(missing) };
    let account = caller.account.clone();
    let answer = api.reading(&account, async move |api: Arc<Api>| {
        let found = api.letters.named(&[id], STEP).await?.pop().flatten();
        let found = found.filter(|found| own.takes(&found.letter)).ok_or(missing)?;
        let outcomes = api.redrive_all(vec![found], &own, request.again == Some(true), &caller).await?;
        Ok(RedriveAnswer::of(&outcomes, None))
    });
    Ok(Json(answer.await?))
}

impl Api {
    /// Filter for the letters of a webhook of the caller's account.
    fn own(&self, webhook: &str, caller: &Caller) -> Result<LetterFilter, ApiError> {
        let webhook = self.webhook(webhook, caller)?.id;
        Ok(LetterFilter { account: Some(caller.account.clone()), webhook: Some(webhook), ..LetterFilter::default() })
    }

    async fn redrive_named(
        &self,
        ids: &[LetterId],
        own: &LetterFilter,
        again: bool,
        caller: &Caller,
    ) -> Result<RedriveAnswer, ApiError> {
        let found = self.letters.named(ids, STEP).await?;
        let found: Vec<_> = found.into_iter().map(|found| found.filter(|found| own.takes(&found.letter))).collect();
        let missing = ids.iter().zip(&found).filter(|(_, found)| found.is_none());
        let mut outcomes: Outcomes = missing.map(|(id, _)| (*id, Err(Skipped::Missing))).collect();
        outcomes.extend(self.redrive_all(found.into_iter().flatten().collect(), own, again, caller).await?);
        Ok(RedriveAnswer::of(&outcomes, None))
    }

    async fn redrive_all(
        &self,
        found: Vec<Candidate>,
        filter: &LetterFilter,
        again: bool,
        caller: &Caller,
    ) -> Result<Outcomes, ApiError> {
        let (definitions, by) = (self.store.as_of(), caller.name.clone());
        let order = RedriveOptions { again, dry_run: false, definitions, by, look: STEP, write: STEP };
        Ok(self.redrive.send(found, &self.letters, &mut RedriveMarkers::among(filter), &order).await?)
    }
}

/// Letters by id, or a page of letters that starts at a cursor.
enum LetterSelection {
    Named(Vec<LetterId>),
    Page(Option<TopicCursor>),
}

impl RedriveRequest {
    /// Narrows `own` to the letters that the request selects.
    fn read(self, own: &LetterFilter) -> Result<(LetterFilter, LetterSelection), ApiError> {
        let of_body = |error: ApiError| ApiError::body(error.message);
        let filter = LetterFilter {
            event: parsed("EventId", self.event_id.as_deref()).map_err(of_body)?,
            message: parsed("MessageId", self.message_id.as_deref()).map_err(of_body)?,
            class: self.class.map(class).transpose().map_err(of_body)?,
            since: time("Since", self.since.as_deref()).map_err(of_body)?,
            until: time("Until", self.until.as_deref()).map_err(of_body)?,
            ..own.clone()
        };
        let from: Option<TopicCursor> = parsed("Cursor", self.cursor.as_deref()).map_err(of_body)?;
        let (has_conditions, all) = (filter != *own, self.all == Some(true));
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
        let mut ids = ids.into_iter().map(read).collect::<Result<Vec<LetterId>, _>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok((filter, LetterSelection::Named(ids)))
    }
}

impl RedriveAnswer {
    fn of(outcomes: &Outcomes, next: Option<TopicCursor>) -> Self {
        let skipped = |(id, outcome): &(LetterId, Result<(), Skipped>)| {
            let reason = outcome.as_ref().err()?;
            Some(SkippedShown { id: id.to_string(), reason: shown(reason) })
        };
        Self {
            redriven: outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(),
            skipped: outcomes.iter().filter_map(skipped).collect(),
            next_cursor: next.map(|next| next.to_string()),
        }
    }
}

/// The reason as API clients see it. Errors of the Kafka client are only logged: they name brokers and topics.
fn shown(reason: &Skipped) -> String {
    match reason {
        Skipped::Unwritten(cause) | Skipped::Unmarked(cause) => {
            tracing::error!("a dead letter could not be fully redriven: {cause}");
            format!("{}: try again in a moment", reason.in_short())
        }
        reason => reason.to_string(),
    }
}
